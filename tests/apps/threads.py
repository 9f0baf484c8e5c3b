"""A service with a thread for each connection: /work/N asks the price service for N; /hold/N is answered once
/release/N has come.

With MULTIPATH in its environment it also takes connections of MPTCP."""

import os
import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RELEASED = threading.Event()
PRICES_URL = os.environ["PRICES_URL"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = self.path.rsplit("/", 1)[-1]
        if self.path.startswith("/hold/"):
            # Until another request releases it.
            RELEASED.wait()
            body = b"released"
        elif self.path.startswith("/release/"):
            RELEASED.set()
            body = b"released"
        else:
            with urllib.request.urlopen(f"{PRICES_URL}/price/{number}") as answer:
                body = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def server_bind(self):
        if "MULTIPATH" in os.environ:
            self.socket.close()
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        super().server_bind()


Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
