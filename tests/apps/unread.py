"""Clients that close without reading their whole answers, and one request that is open when the program ends."""

import os
import select
import socket
import threading

BODY = b"x" * 200000
HAS_READ = threading.Event()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def serve(listener):
    while True:
        connection, _ = listener.accept()
        request = connection.recv(4096)
        if b"/open" in request:
            HAS_READ.set()
        elif b"/rest" in request:
            # The rest comes when the client has read all that there was, and has gone.
            connection.sendall(ANSWER[:1000])
            end = select.poll()
            end.register(connection, select.POLLRDHUP)
            end.poll()
            connection.sendall(ANSWER[1000:2000])
        else:
            connection.sendall(ANSWER)
            threading.Timer(0.3, connection.close).start()


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    for name, read in [("none", 0), ("head", 1000), ("part", 20000), ("rest", 1000), ("open", 0)]:
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"GET /unread/%s HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode())
        if name == "open":
            HAS_READ.wait()
            break
        # The answer is there, and stays unread until the client wants a part of it.
        select.select([client], [], [])
        if read:
            client.recv(read)
        client.close()
    # Without closing anything in order.
    os._exit(0)


main()
