"""ClickHouse's engine, which chdb-core has in process, behind the part of ClickHouse's HTTP that a source uses: statements by
POST, and its errors with their status. Called with a port and a folder for data."""

import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chdb import session

NOT_FOUND = {"60", "81", "47"}
engine = session.Session(sys.argv[2])
# One statement at a time: the engine has one session for a folder.
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, b"Ok.\n")

    def do_POST(self):
        statement = self.rfile.read(int(self.headers["content-length"])).decode()
        try:
            with lock:
                result = session_query(statement)
            self.answer(200, result)
        except Exception as error:  # noqa: BLE001: whatever the engine says is the answer
            told = str(error)
            code = re.match(r"Code: (\d+)", told)
            self.answer(404 if code and code[1] in NOT_FOUND else 500, told.encode())

    def log_message(self, *_):
        pass


def session_query(statement):
    return bytes(engine.query(statement, "TabSeparated").bytes() or b"")


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
