"""Services of Python's frameworks, as servers load them: service:flask and so on.

A request for /r/N makes calls to /c/N/0, /c/N/1 and so on at the backend, in the way that the variable WAY names.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

BACKEND = "http://" + os.environ["BACKEND"]
WAY = os.environ["WAY"]


def blocking():
    """Work by `requests`, with a session in each thread."""
    import threading

    import requests

    own = threading.local()

    def call(number, k):
        if not hasattr(own, "session"):
            own.session = requests.Session()
        own.session.get(f"{BACKEND}/c/{number}/{k}")

    def one(number):
        call(number, 0)

    def sequence(number):
        for k in range(2):
            call(number, k)

    def parallel(number):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(call, [number] * 4, range(4)))

    pool = ThreadPoolExecutor(16)

    def pooled(number):
        list(pool.map(call, [number] * 4, range(4)))

    return {"one": one, "sequence": sequence, "parallel": parallel, "parallel, pool": pooled}[WAY]


def awaiting():
    """Work by `httpx`, with a client that is made in the loop."""
    import httpx

    clients = []

    async def call(number, k):
        if not clients:
            clients.append(httpx.AsyncClient())
        await clients[0].get(f"{BACKEND}/c/{number}/{k}")

    async def one(number):
        await call(number, 0)

    async def sequence(number):
        for k in range(2):
            await call(number, k)

    async def parallel(number):
        await asyncio.gather(*(call(number, k) for k in range(4)))

    async def group(number):
        import anyio

        async with anyio.create_task_group() as tasks:
            for k in range(4):
                tasks.start_soon(call, number, k)

    return {"one": one, "sequence": sequence, "parallel": parallel, "parallel, anyio": group}[WAY]


def flask():
    from flask import Flask

    app, work = Flask(__name__), blocking()

    @app.get("/r/<number>")
    def serve(number):
        work(number)
        return "ok\n"

    return app


def celery():
    """The application of Celery; `--app service:worker` runs its workers."""
    from celery import Celery

    app = Celery("shop", broker=os.environ["REDIS"], backend=os.environ["REDIS"])
    app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
    return app


if "REDIS" in os.environ:
    worker = celery()

    @worker.task(name="work")
    def work_for(number):
        blocking()(number)


def flask_celery():
    from flask import Flask

    app = Flask(__name__)

    @app.get("/r/<number>")
    def serve(number):
        work_for.delay(number).get(timeout=20)
        return "ok\n"

    return app


def configure_django():
    from django.conf import settings

    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ])


urlpatterns = []


def django():
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    work = blocking()

    def serve(request, number):
        work(number)
        return HttpResponse("ok\n")

    configure_django()
    urlpatterns.append(path("r/<number>", serve))
    return get_wsgi_application()


def django_asgi():
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse
    from django.urls import path

    work = awaiting()

    async def serve(request, number):
        await work(number)
        return HttpResponse("ok\n")

    configure_django()
    urlpatterns.append(path("r/<number>", serve))
    return get_asgi_application()


def fastapi():
    from fastapi import FastAPI

    app, work = FastAPI(), awaiting()

    @app.get("/r/{number}")
    async def serve(number: int):
        await work(number)
        return "ok"

    return app


def fastapi_threads():
    from fastapi import FastAPI

    app, work = FastAPI(), blocking()

    @app.get("/r/{number}")
    def serve(number: int):
        work(number)
        return "ok"

    return app


def fastapi_middleware():
    app = fastapi()

    @app.middleware("http")
    async def through(request, proceed):
        return await proceed(request)

    return app


def aiohttp_posts():
    """A server of its own: python3 service.py."""
    from aiohttp import ClientSession, web

    async def call(request, k):
        number = request.match_info["number"]
        async with request.app["session"].post(f"{BACKEND}/c/{number}/{k}", json={"k": k}) as response:
            await response.read()

    async def serve(request):
        if WAY == "parallel":
            await asyncio.gather(*(call(request, k) for k in range(4)))
        else:
            for k in range({"one": 1, "sequence": 2}[WAY]):
                await call(request, k)
        return web.Response(text="ok\n")

    async def start(app):
        app["session"] = ClientSession()

    app = web.Application()
    app.router.add_get("/r/{number}", serve)
    app.on_startup.append(start)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)


if __name__ == "__main__":
    aiohttp_posts()
