"""A connection that is older than the agent, which comes in the middle of an upload and goes later."""

import hashlib
import json
import os
import socket
import sys
import time

LURE = b"GET /lure HTTP/1.1\r\nHost: lure\r\n\r\n"
port, waits, folder = int(sys.argv[1]), sys.argv[2] == "waits", sys.argv[3]
sock = socket.create_connection(("127.0.0.1", port), timeout=None if waits else 60)
digest, length, received = hashlib.sha256(), 0, b""


def send(data):
    global length
    sock.sendall(data)
    digest.update(data)
    length += len(data)


def answer():
    global received
    while b"\r\n\r\n" not in received:
        received += sock.recv(65536)
    head, received = received.split(b"\r\n\r\n", 1)
    size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(received) < size:
        received += sock.recv(65536)
    body, received = received[:size], received[size:]
    return len(json.loads(body)["found"])


def until(name):
    while not os.path.exists(os.path.join(folder, name)):
        time.sleep(0.05)


def ask():
    # The agent acts on a connection between its requests: the client leaves it time, and sees nothing to poll for.
    time.sleep(0.4)
    send(b"GET /asked HTTP/1.1\r\nHost: judge\r\n\r\n")
    return answer()


send(b"POST /upload HTTP/1.1\r\nHost: judge\r\nContent-Length: %d\r\n\r\n" % (400 * len(LURE)))
for n in range(200):
    send(LURE)
open(os.path.join(folder, "half"), "w").close()
until("traced")
for n in range(200):
    send(LURE)
found = [answer()] + [ask() for n in range(6)]
open(os.path.join(folder, "asked"), "w").close()
until("gone")
found.append([ask() for n in range(3)])
sock.shutdown(socket.SHUT_WR)
while data := sock.recv(65536):
    received += data
report = json.loads(received)
same = (report["digest"], report["length"]) == (digest.hexdigest(), length)
print(json.dumps({"found": found, "same": same, "headers": report["headers"]}))
