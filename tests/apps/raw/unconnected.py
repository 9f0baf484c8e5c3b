"""Connections that are not established, each kind a number of times: unconnected.py PORT-THAT-REFUSES"""

import errno
import socket
import sys
import time

refusing = int(sys.argv[1])
for _ in range(3):
    try:
        socket.create_connection(("127.0.0.1", refusing))
    except ConnectionRefusedError:
        pass

# Behind the first one, nobody is answered.
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(0)
first = socket.create_connection(listener.getsockname())

for _ in range(2):
    given_up = socket.socket()
    given_up.setblocking(False)
    given_up.connect_ex(listener.getsockname())
    time.sleep(0.05)
    given_up.close()

late = socket.socket()
late.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
assert late.connect_ex(listener.getsockname()) == errno.ETIMEDOUT
print("done", flush=True)
