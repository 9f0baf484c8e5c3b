"""As service.py, with frameworks of asyncio: frameworks.py WAY, which is a framework and how it is used."""

import asyncio
import os
import sys

BACKEND = "http://" + os.environ["BACKEND"]
PORT = int(os.environ["PORT"])


def aiohttp(way):
    from aiohttp import ClientSession, web

    async def overwritten(k):
        """A body. While it is sent, what tells whose call it is is wrong."""
        frame = sys._getframe()
        while frame.f_code.co_name != "write_bytes":
            frame = frame.f_back
        request = frame.f_locals["self"]
        timer, tasks = request._timer, request._timer._tasks
        if k == 0:
            request._timer = asyncio.current_task()
        else:
            timer._tasks = []
        yield b"x" * 99
        request._timer, timer._tasks = timer, tasks

    async def call(request, k):
        url = f"{BACKEND}/c/{request.match_info['number']}/{k}"
        if way in ("post", "overwritten"):
            body = b"x" * 99 if way == "post" else overwritten(k)
            calling = request.app["session"].post(url, data=body, headers={"Content-Length": "99"})
        else:
            calling = request.app["session"].get(url)
        async with calling as response:
            await response.read()

    async def serve(request):
        if way == "gather":
            await asyncio.gather(*(call(request, k) for k in range(2)))
        elif way == "after":
            response = web.StreamResponse(headers={"Content-Length": "2"})
            await response.prepare(request)
            await response.write(b"ok")
            await response.write_eof()
            await asyncio.sleep(0.003)
            await call(request, 0)
            return response
        else:
            for k in range(2):
                await call(request, k)
        return web.Response(text="ok")

    async def start(app):
        app["session"] = ClientSession()

    app = web.Application()
    app.router.add_get("/r/{number}", serve)
    app.on_startup.append(start)
    if way == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    web.run_app(app, host="127.0.0.1", port=PORT, print=None)


def fastapi(way):
    import fastapi
    import httpx
    import uvicorn

    app = fastapi.FastAPI()
    client = httpx.AsyncClient()
    blocking = httpx.Client()

    async def call(number, k):
        await client.get(f"{BACKEND}/c/{number}/{k}")

    async def call_later(number):
        await asyncio.sleep(0.003)
        await call(number, 0)

    if way == "background":

        @app.get("/r/{number}")
        async def serve(number: int, background: fastapi.BackgroundTasks):
            await asyncio.sleep(0.005)
            background.add_task(call_later, number)

    elif way == "threads":

        @app.get("/r/{number}")
        def serve(number: int):
            for k in range(2):
                blocking.get(f"{BACKEND}/c/{number}/{k}")

    else:

        @app.get("/r/{number}")
        async def serve(number: int):
            if "gather" in way:
                await asyncio.gather(*(call(number, k) for k in range(2)))
            else:
                for k in range(2):
                    await call(number, k)

    if "middleware" in way:

        @app.middleware("http")
        async def through(request, proceed):
            return await proceed(request)

    loop = "uvloop" if way == "uvloop" else "asyncio"
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="critical", loop=loop)


FRAMEWORKS = {"aiohttp": aiohttp, "fastapi": fastapi}
framework, way = sys.argv[1].split()
FRAMEWORKS[framework](way)
