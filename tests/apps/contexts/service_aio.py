"""A service that makes a call for each request, as many as its path says behind a slash, with aiohttp. No tracing in it."""

import os

import aiohttp
from aiohttp import web


async def answer(request):
    _, _, count = request.path[1:].partition("/")
    for _ in range(int(count or 1)):
        async with request.app["session"].get(os.environ["BACKEND"]) as response:
            text = await response.text()
    return web.Response(text=text)


async def session(app):
    async with aiohttp.ClientSession() as app["session"]:
        yield


app = web.Application()
app.cleanup_ctx.append(session)
app.router.add_get("/{path:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
