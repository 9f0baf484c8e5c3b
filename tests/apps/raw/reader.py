"""An HTTP/1.1 server on bare sockets that reads SIZE bytes at a time."""

import socket
import sys
import threading

size = int(sys.argv[2])


def serve(connection):
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            part = connection.recv(size)
            if not part:
                return connection.close()
            head += part
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
