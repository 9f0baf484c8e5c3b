"""A connection that one process opens and asks on, and then hands to another, which asks on it too."""

import array
import hashlib
import json
import os
import socket
import sys
import time

role, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
REQUEST = b"GET /asked HTTP/1.1\r\nHost: judge\r\n\r\n"


def ask(sock):
    sock.sendall(REQUEST)
    data = b""
    while b"}" not in data:
        data += sock.recv(65536)


unix = socket.socket(socket.AF_UNIX)
path = os.path.join(folder, "handed")
if role == "opens":
    while not os.path.exists(os.path.join(folder, "traced")):
        time.sleep(0.05)
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    ask(sock)
    unix.bind(path)
    unix.listen()
    open(os.path.join(folder, "ready"), "w").close()
    peer, _ = unix.accept()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))
    peer.sendmsg([b"."], [rights])
    # It keeps its own descriptor.
    time.sleep(600)
else:
    unix.connect(path)
    _, control, _, _ = unix.recvmsg(1, socket.CMSG_SPACE(4))
    sock = socket.socket(fileno=array.array("i", control[0][2][:4])[0])
    sock.settimeout(60)
    for n in range(5):
        ask(sock)
    sock.shutdown(socket.SHUT_WR)
    data = b""
    while part := sock.recv(65536):
        data += part
    report = json.loads(data)
    same = report["digest"] == hashlib.sha256(6 * REQUEST).hexdigest()
    print(json.dumps({"same": same, "length": report["length"], "headers": report["headers"]}))
