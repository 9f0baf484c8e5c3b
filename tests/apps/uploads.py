"""Chunked uploads on one kept connection. The server reads its socket in pieces of 32 KiB, so that most sizes of chunks
stand in the middle of a read; a trailer ends each body. With `early` the server answers before it reads the body.

Usage: uploads.py COUNT [early]
"""

import socket
import sys
import threading

COUNT = int(sys.argv[1])
EARLY = "early" in sys.argv[2:]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# Data that looks like a request.
FAKE = b"GET /uploads/fake HTTP/1.1\r\nHost: x\r\n\r\n"


def serve(listener):
    connection, _ = listener.accept()
    stream = connection.makefile("rb", 32768)
    while stream.readline():
        while stream.readline().strip():
            pass
        if EARLY:
            connection.sendall(ANSWER)
        while size := int(stream.readline().split(b";")[0], 16):
            stream.read(size + 2)
        while stream.readline().strip():
            pass
        if not EARLY:
            connection.sendall(ANSWER)


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    client = socket.create_connection(listener.getsockname())
    for number in range(COUNT):
        client.sendall(b"POST /uploads/%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % number)
        for size in (1, 4095, 70000):
            data = FAKE.ljust(size, b"z")[:size]
            client.sendall(b"%x;name=value\r\n" % size + data + b"\r\n")
        client.sendall(b"0\r\nTrailer: x\r\n\r\n")
        got = b""
        while not got.endswith(b"ok"):
            got += client.recv(4096)


main()
