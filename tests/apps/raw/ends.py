"""Clients that treat the end of a connection in unusual ways; the server is not theirs to trace."""

import select
import socket
import sys

port, way = int(sys.argv[1]), sys.argv[2]
connection = socket.create_connection(("127.0.0.1", port))
connection.sendall(f"GET /{way} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
if way == "half":
    # The answer and the server's end are there before the first read, which takes both.
    connection.shutdown(socket.SHUT_WR)
# The server's end is there, and so is all that it sent before.
end = select.poll()
end.register(connection, select.POLLRDHUP)
assert end.poll(10_000)
if way == "zero":
    assert connection.recv(0) == b""
data = b""
while part := connection.recv(65536):
    data += part
assert data.endswith(b"hello"), data
