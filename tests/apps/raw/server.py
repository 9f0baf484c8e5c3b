"""An HTTP/1.1 server on bare sockets that uses them in unusual ways: one for each path."""

import os
import socket
import sys
import threading


def read_head(connection, peek=False):
    data = b""
    while b"\r\n\r\n" not in data:
        if peek:
            connection.recv(65536, socket.MSG_PEEK)
        part = connection.recv(1)
        if not part:
            return None
        data += part
    return data


def answer(connection, body=b"ok\n"):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


def serve(connection):
    while True:
        head = read_head(connection, peek=True)
        if head is None:
            return connection.close()
        path = head.split()[1].decode()
        if path.startswith("/dup"):
            copy = os.dup(connection.fileno())
            os.write(copy, answer(connection))
            os.close(copy)
        elif path.startswith("/pieces"):
            for byte in answer(connection):
                connection.send(bytes([byte]))
        elif path.startswith("/writev"):
            data = answer(connection, b"v" * 9000)
            connection.sendmsg([data[:3], data[3:40], data[40:41], data[41:8000], data[8000:]])
        elif path.startswith("/nonblocking"):
            data = answer(connection, b"n" * 3_000_000)
            connection.setblocking(False)
            while data:
                try:
                    data = data[connection.send(data):]
                except BlockingIOError:
                    pass
            connection.setblocking(True)
        elif path.startswith("/thread"):
            thread = threading.Thread(target=connection.sendall, args=(answer(connection),))
            thread.start()
            thread.join()
        elif path.startswith("/reset"):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return connection.close()
        elif path.startswith("/silent"):
            return connection.close()
        elif path.startswith("/cut"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
            return connection.close()
        elif path.startswith("/close"):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            connection.shutdown(socket.SHUT_WR)
            return connection.close()
        elif path.startswith("/upgrade"):
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
            connection.recv(100)
            connection.sendall(b"GET /fake HTTP/1.1\r\n\r\n")
            return connection.close()
        elif path.startswith("/splice"):
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            reader, writer = os.pipe()
            left = length
            while left:
                moved = os.splice(connection.fileno(), writer, min(left, 65536))
                left -= moved
                while moved:
                    moved -= len(os.read(reader, moved))
            connection.sendall(answer(connection))
            os.close(reader)
            os.close(writer)
        else:
            connection.sendall(answer(connection))


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
if len(sys.argv) > 2 and sys.argv[2] == "fork":
    # The parent accepts, the child serves.
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            serve(connection)
            os._exit(0)
        connection.close()
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
