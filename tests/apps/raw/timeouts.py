"""Connections that time out while others open and close: timeouts.py COUNT. Prints a line when all are over.

The kernel ends the ones in an interrupt, whatever runs at that moment: often a system call that changes the state of another.
"""

import os
import select
import socket
import sys
import threading

TCP_USER_TIMEOUT = 18
AT_ONCE = 500


def listener(backlog):
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(backlog)
    return server


def churn(server):
    address = server.getsockname()
    while True:
        client = socket.create_connection(address)
        accepted, _ = server.accept()
        # The side that closes second has changed its state twice by then.
        client.close()
        accepted.close()


count = int(sys.argv[1])
# Nobody accepts: further requests to connect are dropped.
full = listener(0)
held = [socket.create_connection(full.getsockname())]
for _ in range(2):
    threading.Thread(target=churn, args=(listener(8),), daemon=True).start()
while count > 0:
    waiting = select.epoll()
    clients = {}
    for number in range(min(AT_ONCE, count)):
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 20 + number % 250)
        client.connect_ex(full.getsockname())
        clients[client.fileno()] = client
        waiting.register(client, select.EPOLLOUT)
    count -= len(clients)
    while clients:
        for descriptor, _ in waiting.poll():
            waiting.unregister(descriptor)
            clients.pop(descriptor).close()
print("done", flush=True)
os._exit(0)
