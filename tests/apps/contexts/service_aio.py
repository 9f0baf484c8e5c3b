"""A service that makes one call for each request, with aiohttp. No tracing in it."""

import os

import aiohttp
from aiohttp import web


async def answer(request):
    async with request.app["session"].get(os.environ["BACKEND"]) as response:
        return web.Response(text=await response.text())


async def session(app):
    async with aiohttp.ClientSession() as app["session"]:
        yield


app = web.Application()
app.cleanup_ctx.append(session)
app.router.add_get("/{path:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
