"""Answers GET: on a port of its own (`port N`), on a listening socket that it inherits (`listener N`), or on one
connection that it inherits (`connection N`). Without arguments it waits."""

import socket
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def answer(connection):
    with connection:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            read = connection.recv(4096)
            if not read:
                return
            request += read
        connection.sendall(ANSWER)


match sys.argv[1:]:
    case ["port", number]:
        listener = socket.create_server(("127.0.0.1", int(number)))
    case ["listener", number]:
        listener = socket.socket(fileno=int(number))
    case ["connection", number]:
        answer(socket.socket(fileno=int(number)))
        sys.exit()
    case _:
        time.sleep(600)
while True:
    answer(listener.accept()[0])
