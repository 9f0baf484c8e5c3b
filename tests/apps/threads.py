"""A service with a thread for each connection: /work/N asks the price service for N."""

import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRICES_URL = os.environ["PRICES_URL"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = self.path.rsplit("/", 1)[-1]
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


Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
