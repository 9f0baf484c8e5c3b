"""An HTTP/1.1 server whose responses take 300 ms, in parts that a proxy splices. Usage: slow.py PORT"""

import socket
import sys
import threading
import time

PARTS = 12
PART = b"x" * 50_000


def serve(connection):
    stream = connection.makefile("rb")
    while line := stream.readline():
        while stream.readline().strip():
            pass
        try:
            if line.startswith(b"OPTIONS"):
                # A check: its client closes before it has read the body.
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi")
                continue
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PARTS * len(PART)))
            for _ in range(PARTS):
                time.sleep(0.3 / PARTS)
                connection.sendall(PART)
        except OSError:
            break
    connection.close()


def guarded(connection):
    try:
        serve(connection)
    except OSError:
        pass


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()
