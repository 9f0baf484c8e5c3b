"""Connections that are reset while their first bytes are read: resets.py server PORT, or resets.py client PORT COUNT."""

import random, socket, struct, sys, threading

role, address = sys.argv[1], ("127.0.0.1", int(sys.argv[2]))


def read(listener):
    while True:
        stream, _ = listener.accept()
        try:
            while stream.recv(100):
                pass
        except OSError:
            pass
        stream.close()


if role == "server":
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(1024)
    for _ in range(4):
        threading.Thread(target=read, args=(listener,)).start()
else:
    for _ in range(int(sys.argv[3])):
        stream = socket.socket()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.connect(address)
        stream.send(b"GET / HTTP/1.1\r\n")
        for _ in range(random.randrange(300)):
            pass
        stream.close()
