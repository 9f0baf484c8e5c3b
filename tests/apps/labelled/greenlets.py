"""As service.py, with greenlets of gevent: greenlets.py WAY."""

from gevent import monkey

monkey.patch_all()

import http.client  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
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


WORK = {"sequence": sequence, "spawned": spawned, "deep": deep}[sys.argv[1]]


def serve(environment, start_response):
    WORK(environment["PATH_INFO"].rsplit("/", 1)[1])
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\n"]


WSGIServer(("127.0.0.1", int(os.environ["PORT"])), serve, log=None).serve_forever()
