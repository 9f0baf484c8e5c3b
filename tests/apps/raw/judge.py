"""A server that says what it received: to each request, and of the whole stream at its end.

Trace headers that an agent pushed in are counted and left out of the digest, those of the clients' own
(trace ids that begin with 4bf92f) are not."""

import hashlib
import json
import re
import socket
import socketserver
import struct
import sys
import time

PUSHED = re.compile(rb"(?<=\r\n)traceparent: 00-(?!4bf92f)[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]\r\n")
TCP_INFO_DATA_SEGS_IN = 152


class Judge(socketserver.BaseRequestHandler):
    def setup(self):
        self.raw = b""
        self.digest = hashlib.sha256()
        self.length = 0
        self.headers = 0
        self.last = []

    def more(self):
        data = self.request.recv(65536)
        self.raw += data
        return bool(data)

    def take(self, count):
        while len(self.raw) < count:
            if not self.more():
                return None
        taken, self.raw = self.raw[:count], self.raw[count:]
        return taken

    def note(self, data):
        self.digest.update(data)
        self.length += len(data)

    def head(self):
        while b"\r\n\r\n" not in self.raw:
            if not self.more():
                return None
        if not self.raw[:1].isalpha():
            self.rest()
            return None
        return self.take(self.raw.index(b"\r\n\r\n") + 4)

    def answer(self, head, status=b"200 OK"):
        info = self.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        segments = struct.unpack_from("I", info, TCP_INFO_DATA_SEGS_IN)[0]
        found = [line.decode() for line in head.split(b"\r\n") if line.lower().startswith(b"traceparent")]
        body = json.dumps({"found": found, "segments": segments}).encode()
        self.request.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    def rest(self):
        while self.more():
            if len(self.raw) > 1 << 20:
                self.note(self.raw)
                self.raw = b""
        self.note(self.raw)
        self.raw = b""

    def handle(self):
        try:
            while self.one():
                pass
        except ConnectionError:
            return
        report = {"digest": self.digest.hexdigest(), "length": self.length, "headers": self.headers}
        try:
            self.request.sendall(b"\n" + json.dumps(report).encode())
        except OSError:
            pass

    def one(self):
        head = self.head()
        if head is None:
            self.note(self.raw)
            return False
        plain, count = PUSHED.subn(b"", head)
        self.headers += count
        self.note(plain)
        method, path = plain.split(b" ")[:2]
        fields = dict(line.lower().split(b": ", 1) for line in plain.split(b"\r\n")[1:] if b": " in line)
        if b"stall" in path:
            time.sleep(0.2)
        if b"100" in fields.get(b"expect", b""):
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = int(fields.get(b"content-length", 0))
        if b"early" in path:
            # Its client can send no more, and waits for this.
            time.sleep(0.3)
            for _ in range(30):
                part = self.take(65536)
                self.note(part)
                left -= len(part)
            time.sleep(0.1)
            self.answer(head)
        while left:
            part = self.take(min(left, 65536))
            if part is None:
                self.note(self.raw)
                return False
            self.note(part)
            left -= len(part)
        if fields.get(b"transfer-encoding") == b"chunked":
            while True:
                while b"\r\n" not in self.raw:
                    if not self.more():
                        return False
                line = self.take(self.raw.index(b"\r\n") + 2)
                size = int(line, 16)
                self.note(line + self.take(size + 2))
                if size == 0:
                    break
        if b"slow" in path:
            time.sleep(0.5)
        if b"reset" in path:
            time.sleep(0.2)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()
            raise ConnectionError
        if b"close" in path:
            self.answer(head)
            self.request.close()
            raise ConnectionError
        if method == b"CONNECT":
            self.answer(head)
            self.rest()
            return False
        if b"upgrade" in fields:
            self.answer(head, b"101 Switching Protocols")
            self.rest()
            return False
        if b"silent" not in path:
            self.answer(head)
        return True


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Judge).serve_forever()
