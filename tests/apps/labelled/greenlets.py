"""As service.py, with greenlets of gevent: greenlets.py WAY."""

from gevent import monkey

monkey.patch_all()

import http.client  # noqa: E402
import itertools  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
import gevent.event  # noqa: E402
import gevent.socket  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402


def call(number, k):
    connection = http.client.HTTPConnection(os.environ["BACKEND"])
    connection.request("GET", f"/c/{number}/{k}")
    connection.getresponse().read()
    connection.close()


def sequence(number):
    for k in range(2):
        call(number, k)


def spawned(number):
    """Greenlets that the request's makes."""
    gevent.joinall([gevent.spawn(call, number, k) for k in range(2)])


def deep(number, depth=400):
    """Frames that take more than one chunk."""
    if depth:
        return deep(number, depth - 1)
    return sequence(number)


def after(number):
    """The answer, and a call behind its last byte."""
    yield b"ok\n"
    call(number, 0)


WAY = sys.argv[1]
WORK = {"after": after, "spawned": spawned, "deep": deep}.get(WAY, sequence)
served = itertools.count(1)
has_served = gevent.event.Event()


def serve(environment, start_response):
    if next(served) == 100:
        has_served.set()
    answer = WORK(environment["PATH_INFO"].rsplit("/", 1)[1])
    start_response("200 OK", [("Content-Length", "3")])
    return answer or [b"ok\n"]


def restarted(listener):
    """Processes that end after some requests, and others in their place."""
    for running in itertools.count():
        if os.fork() == 0:
            server = WSGIServer(listener, serve, log=None, spawn=8)
            server.start()
            has_served.wait()
            server.stop()
            os._exit(0)
        if running >= 3:
            os.waitpid(-1, 0)


address = ("127.0.0.1", int(os.environ["PORT"]))
if WAY == "restarted":
    restarted(gevent.socket.create_server(address, backlog=512))
WSGIServer(address, serve, log=None).serve_forever()
