"""A server that reads a request late, and then makes two calls of its own accord. Usage: late.py PORT BACKEND"""

import socket
import sys
import time
import urllib.request

port, backend = sys.argv[1:]
listener = socket.create_server(("127.0.0.1", int(port)))
while True:
    connection = listener.accept()[0]
    time.sleep(0.1)
    try:
        if not connection.recv(65536):
            continue
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    except OSError:
        pass
    connection.close()
    time.sleep(0.5)
    for n in range(2):
        urllib.request.urlopen(f"http://127.0.0.1:{backend}/own/{n}").read()
