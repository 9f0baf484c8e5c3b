"""Traffic without sense, the same for each seed: fuzz.py server PORT SEED, or fuzz.py client PORT SEED CONNECTIONS.

Both ends send whole heads, halves of heads and garbage in pieces, wait or do not, and close, reset or half-close.
"""

import random
import socket
import struct
import sys
import threading
import time

REQUEST = b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def nonsense(chance, whole):
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 3000))
    if kind == 1:
        return whole[: chance.randrange(1, len(whole))]
    if kind == 2:
        return whole * chance.randrange(2, 6)
    if kind == 3:
        return whole + chance.randbytes(chance.randrange(1, 200))
    return whole


def pause(chance):
    if chance.randrange(4) == 0:
        time.sleep(chance.choice([0, 0.0002, 0.002, 0.02, 0.15]))


def send(chance, stream, data):
    while data:
        length = chance.randrange(1, len(data) + 1)
        stream.sendall(data[:length])
        data = data[length:]
        pause(chance)


def receive(chance, stream):
    stream.settimeout(chance.choice([0.001, 0.01, 0.2]))
    try:
        return stream.recv(chance.choice([1, 7, 100, 4096]))
    except TimeoutError:
        return None
    finally:
        stream.settimeout(5)


def end(chance, stream):
    kind = chance.randrange(4)
    if kind == 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if kind == 1:
        stream.shutdown(socket.SHUT_WR)
        pause(chance)
        receive(chance, stream)
    stream.close()


def talk(chance, stream, whole, begins):
    try:
        if begins:
            send(chance, stream, nonsense(chance, whole))
        for _ in range(chance.randrange(6)):
            pause(chance)
            if chance.randrange(2):
                receive(chance, stream)
            else:
                send(chance, stream, nonsense(chance, whole))
        end(chance, stream)
    except OSError:
        # Bytes that came before a reset can still be read.
        pause(chance)
        for _ in range(2):
            try:
                receive(chance, stream)
            except OSError:
                pass
        stream.close()


role, port, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if role == "server":
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(512)
    number = 0
    while True:
        stream, _ = listener.accept()
        number += 1
        chance = random.Random(seed * 1_000_003 + number)
        threading.Thread(target=talk, args=(chance, stream, RESPONSE, False), daemon=True).start()


def connections(first, count):
    for number in range(first, first + count):
        chance = random.Random(seed * 1_000_003 + number)
        stream = socket.create_connection(("127.0.0.1", port))
        talk(chance, stream, REQUEST % number, True)


count = int(sys.argv[4])
threads = [threading.Thread(target=connections, args=(n * count, count)) for n in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
