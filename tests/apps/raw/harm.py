"""What an agent that adds trace headers must not change: each way of sending, and what came of it. With and
without an agent the output is the same, but for `headers` and `found`."""

import ctypes
import errno
import http.client
import json
import mmap
import os
import random
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.request

import requests

PORT = int(sys.argv[1])
LURE = b"GET /lure HTTP/1.1\r\nHost: lure\r\n\r\n"
OWN = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000
TCP_ULP, IPPROTO_MPTCP = 31, 262


class KeepingSocket(socket.socket):
    """A socket that can keep a buffer."""


def connect(blocking, sndbuf=0, options=(), protocol=0, mapped=False):
    sock = KeepingSocket(socket.AF_INET6 if mapped else socket.AF_INET, proto=protocol)
    if sndbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    for level, name, value in options:
        sock.setsockopt(level, name, value)
    if not blocking:
        # A timeout makes the descriptor itself non-blocking, as most clients have it.
        sock.settimeout(60)
    sock.connect(("::ffff:127.0.0.1" if mapped else "127.0.0.1", PORT))
    return sock


def head(path, extra=b"", length=None, method=b"GET", pad=0):
    text = method + b" " + path + b" HTTP/1.1\r\nHost: judge\r\n" + extra
    if length is not None:
        text += b"Content-Length: %d\r\n" % length
    if pad:
        text += b"X-Pad: " + b"p" * max(0, pad - len(text) - 11) + b"\r\n"
    return text + b"\r\n"


def read_answer(sock):
    data = b""
    while b"\r\n\r\n" not in data or data.startswith(b"HTTP/1.1 100"):
        part = sock.recv(65536)
        assert part, "closed"
        data += part
        if data.startswith(b"HTTP/1.1 100") and b"\r\n\r\n" in data:
            data = data.split(b"\r\n\r\n", 1)[1]
            if not data:
                return "continue"
    top, body = data.split(b"\r\n\r\n", 1)
    length = int(top.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        part = sock.recv(65536)
        assert part, "closed"
        body += part
    return json.loads(body[:length])


def finish(sock):
    sock.shutdown(socket.SHUT_WR)
    data = b""
    while True:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    sock.close()
    return json.loads(data.rsplit(b"\n", 1)[1])


def ask_many(blocking):
    sock = connect(blocking)
    found = []
    for n in range(50):
        body = bytes(random.Random(n).randbytes(n * 100))
        request = head(b"/ask/%d" % n, length=len(body), method=b"POST", pad=120 + n * 90)
        if n % 3 == 0:
            sock.sendall(request + body)
        else:
            sock.sendall(request)
            if body:
                sock.sendall(body)
        found.append(len(read_answer(sock)["found"]))
    return {**finish(sock), "found": found}


def flood(sndbuf, size):
    """Requests one after the other, without a look at the answers; the reader is slow at first."""
    sock = connect(False, sndbuf=sndbuf)
    sock.setblocking(False)
    errors = set()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for n in range(max(20, min(400, 400_000 // size))):
        path = b"/silent/stall" if n == 0 else b"/silent/%d" % n
        body = random.Random(n).randbytes(size // 2)
        message = head(path, length=len(body), method=b"POST", pad=size - len(body)) + body
        while message:
            try:
                message = message[sock.send(message):]
            except BlockingIOError as error:
                errors.add(error.errno)
                select.select([], [sock], [], 60)
    sock.settimeout(60)
    return {**finish(sock), "errors": [e for e in sorted(errors) if e != 11]}


def lures(blocking):
    sock = connect(blocking)
    sock.sendall(head(b"/ask/body", length=len(LURE), method=b"POST"))
    sock.sendall(LURE)
    read_answer(sock)
    sock.sendall(head(b"/ask/two", length=2 * len(LURE), method=b"POST") + LURE)
    sock.sendall(LURE)
    read_answer(sock)
    sock.sendall(head(b"/ask/chunked", b"Transfer-Encoding: chunked\r\n", method=b"POST"))
    for _ in range(5):
        sock.sendall(b"%x\r\n" % len(LURE))
        sock.sendall(LURE)
        sock.sendall(b"\r\n")
    sock.sendall(b"0\r\n\r\n")
    read_answer(sock)
    sock.sendall(head(b"/ask/expect", b"Expect: 100-continue\r\n", length=len(LURE), method=b"PUT"))
    read_answer(sock)
    sock.sendall(LURE)
    read_answer(sock)
    sock.sendall(head(b"/ask/after"))
    read_answer(sock)
    return finish(sock)


def tunnel(blocking, request):
    sock = connect(blocking)
    sock.sendall(request)
    read_answer(sock)
    for _ in range(5):
        sock.sendall(LURE)
        # The peer reads each part by itself.
        time.sleep(0.01)
    return finish(sock)


def cut(blocking):
    """Heads in two sends, one byte ahead, and by MSG_MORE; pipelined ones."""
    sock = connect(blocking)
    whole = head(b"/ask/cut", pad=400)
    for at in (1, 10, 60, len(whole) - 1):
        sock.sendall(whole[:at])
        time.sleep(0.005)
        sock.sendall(whole[at:])
        read_answer(sock)
    body = b"b" * 300
    sock.send(head(b"/ask/more", length=300, method=b"POST"), socket.MSG_MORE)
    sock.sendall(body)
    read_answer(sock)
    sock.sendall(head(b"/silent/p") * 3 + head(b"/ask/p"))
    read_answer(sock)
    sock.sendmsg([head(b"/ask/v", length=8, method=b"POST"), b"1234", b"5678"])
    read_answer(sock)
    return finish(sock)


def long(blocking):
    """Heads around the longest that may grow."""
    sock = connect(blocking)
    for size in (7_000, 7_609, 7_610, 7_611, 7_680, 8_200, 20_000):
        sock.sendall(head(b"/ask/long", pad=size))
        read_answer(sock)
    return finish(sock)


def odd(blocking, extra, length=None):
    """A head that can be read in two ways."""
    sock = connect(blocking)
    sock.sendall(head(b"/ask/odd", extra, length=length, method=b"POST") + b"b" * (length or 0))
    read_answer(sock)
    return finish(sock)


def own(blocking):
    sock = connect(blocking)
    found = []
    for extra in (
        b"traceparent: %s\r\n" % OWN,
        b"TraceParent: %s\r\n" % OWN,
        b"traceparent: %s\r\ntraceparent: %s\r\n" % (OWN, OWN),
        b"traceparent: nonsense\r\n",
        b"Accept: */*\r\nTRACEPARENT:%s\r\n" % OWN,
    ):
        sock.sendall(head(b"/ask/own", extra))
        found.append(read_answer(sock)["found"])
    report = finish(sock)
    return {**report, "own": found}


def signals():
    """A blocking receive that a signal interrupts, with and without restart."""
    seen = []
    for restart in (True, False):
        signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        signal.siginterrupt(signal.SIGALRM, not restart)
        sock = connect(True)
        for n in range(2):
            sock.sendall(head(b"/ask/slow/%d" % n))
            signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
            read_answer(sock)
            signal.setitimer(signal.ITIMER_REAL, 0)
        finish(sock)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/ask/slow/urllib") as answer:
        status = answer.status
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    session = requests.Session()
    for _ in range(2):
        connection.request("GET", "/ask/slow/client")
        connection.getresponse().read()
        status = (status, session.get(f"http://127.0.0.1:{PORT}/ask/slow/session").status_code)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return {"status": status, "interrupted": len(seen) > 5}


def outcome(call, *arguments):
    """What a call gives: its length, or its error."""
    try:
        result = call(*arguments)
        return result if isinstance(result, int) else len(result)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def receive_now(sock, count, flags):
    """One receive that does not wait, whatever the object's timeout."""
    with socket.socket(fileno=os.dup(sock.fileno())) as once:
        return outcome(once.recv, count, flags | socket.MSG_DONTWAIT)


def draining():
    """A receive that waits while the socket's own send buffer drains."""
    sock = connect(True)
    body = bytes(16 << 20)
    sock.sendall(head(b"/early", length=len(body), method=b"POST"))
    sent = 0
    try:
        while sent < len(body):
            sent += sock.send(memoryview(body)[sent : sent + 65536], socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass
    said = read_answer(sock)["found"]
    sock.sendall(memoryview(body)[sent:])
    read_answer(sock)
    return {**finish(sock), "found": len(said), "filled": sent < len(body)}


def until_reset(sock):
    """Waits for the peer's reset, and takes no error from the socket."""
    end = select.poll()
    end.register(sock, 0)
    assert end.poll(10_000), "no reset"


def reset(blocking, receives):
    """The server resets the connection: while the client receives, or before it sends again."""
    pipes = []
    signal.signal(signal.SIGPIPE, lambda *_: pipes.append(1))
    sock = connect(blocking)
    sock.sendall(head(b"/ask/reset"))
    seen = []
    if receives:
        seen.append(outcome(sock.recv, 100))
    else:
        until_reset(sock)
    for n in range(4):
        seen.append(outcome(sock.send, head(b"/ask/%d" % n)))
    seen.append(outcome(sock.recv, 100))
    sock.close()
    return {"seen": seen, "pipes": len(pipes)}


def closed(blocking):
    """The server closes; the client sends on."""
    pipes = []
    signal.signal(signal.SIGPIPE, lambda *_: pipes.append(1))
    sock = connect(blocking)
    sock.sendall(head(b"/ask/close"))
    read_answer(sock)
    seen = [outcome(sock.recv, 100)]
    for n in range(4):
        seen.append(outcome(sock.send, head(b"/ask/%d" % n)))
        # A closed server resets the connection at the first request.
        until_reset(sock)
    seen.append(outcome(sock.recv, 100))
    sock.close()
    return {"seen": seen, "pipes": len(pipes)}


def other_protocol(blocking):
    """What is not HTTP, and looks like it later."""
    sock = connect(blocking)
    for part in (b"*2\r\n$3\r\nGET\r\n$8\r\nabcdefgh\r\n", LURE, b"\x00\x01\x02", LURE * 3, bytes(5000), LURE):
        sock.sendall(part)
        time.sleep(0.005)
    return finish(sock)


def layered():
    """A socket that gets an upper layer when it is established."""
    sock = connect(False)
    sock.sendall(head(b"/ask/plain"))
    read_answer(sock)
    result = outcome(lambda: sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls") or 0)
    for n in range(3):
        sock.sendall(head(b"/ask/%d" % n))
        read_answer(sock)
    return {**finish(sock), "result": result}


def multipath():
    try:
        sock = connect(False, protocol=IPPROTO_MPTCP)
    except OSError as error:
        return {"result": error.errno, "headers": 0}
    for n in range(3):
        sock.sendall(head(b"/ask/%d" % n))
        read_answer(sock)
    return finish(sock)


def send_file(sock, file, length):
    sent = 0
    while sent < length:
        try:
            sent += os.sendfile(sock.fileno(), file.fileno(), sent, length - sent)
        except BlockingIOError:
            select.select([], [sock], [], 60)


def small(blocking, sndbuf):
    """Bodies through a send buffer that is smaller: after MSG_MORE, from a file, in pieces."""
    sock = connect(blocking, sndbuf=sndbuf)
    dice = random.Random(sndbuf)
    with tempfile.TemporaryFile() as file:
        body = dice.randbytes(400_000)
        file.write(body)
        file.flush()
        for n in range(9):
            request = head(b"/ask/small/%d" % n, length=len(body), method=b"POST", pad=120 + 70 * n)
            if n % 3 == 2:
                sock.sendall(request + body)
            elif n % 3 == 1:
                sock.sendall(request)
                send_file(sock, file, len(body))
            else:
                sock.send(request, socket.MSG_MORE)
                for at in range(0, len(body), 40_000):
                    sock.sendall(body[at : at + 40_000])
            read_answer(sock)
    return finish(sock)


def reconnected():
    """A socket that is disconnected and connected again, and waits now."""
    sock = connect(False)
    sock.sendall(head(b"/ask/first"))
    read_answer(sock)
    result = ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16)
    sock.settimeout(None)
    sock.connect(("127.0.0.1", PORT))
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, False)
    for n in range(2):
        sock.sendall(head(b"/ask/slow/%d" % n))
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        read_answer(sock)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {**finish(sock), "result": result}


def stopped():
    """A child that is stopped and continued while it waits."""
    ends = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            sock = connect(True)
            sock.sendall(head(b"/ask/slow/stopped"))
            read_answer(sock)
            os.write(ends[1], b"fine")
        except BaseException as error:
            os.write(ends[1], repr(error).encode())
        os._exit(0)
    for _ in range(3):
        time.sleep(0.05)
        os.kill(child, signal.SIGSTOP)
        time.sleep(0.05)
        os.kill(child, signal.SIGCONT)
    said = os.read(ends[0], 1000).decode()
    os.waitpid(child, 0)
    return {"said": said}


def zero_copy(blocking, is_late):
    """Sends without copying, and the notices of their ends; `is_late`: asked for when it is connected."""
    option = (socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    sock = connect(blocking, options=[] if is_late else [option])
    body = b"z" * 200_000
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    if is_late:
        # The first send follows at once.
        sock.setsockopt(*option)
    sends = 0
    # The kernel reads them as long as it likes.
    messages = [head(b"/silent/%d" % n, length=len(body), method=b"POST") + body for n in range(5)]
    for message in messages:
        sent = 0
        while sent < len(message):
            sent += sock.send(memoryview(message)[sent:], MSG_ZEROCOPY)
            sends += 1
    report = finish_keep(sock)
    highest = -1
    notices = 0
    sock.setblocking(False)
    try:
        while True:
            _, ancillary, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
            for _, _, data in ancillary:
                _, origin, _, _, _, _, last = struct.unpack_from("IBBBBII", data)
                if origin == 5:
                    highest = max(highest, last)
                    notices += 1
    except BlockingIOError:
        pass
    sock.close()
    # With fewer notices than sends, some tell of several.
    return {**report, "all_notified": highest + 1 == sends, "notified": notices > 0}


def ring_send(sock, message):
    """Sends by io_uring without copying. Gives the result; None if the kernel has no such operation."""
    libc = ctypes.CDLL(None, use_errno=True)
    params = (ctypes.c_uint32 * 30)()
    ring = libc.syscall(425, 4, ctypes.byref(params))
    if ring < 0:
        return None
    # Offsets of tail, mask and array of the submission queue; of head and entries of the completion queue.
    sq_tail, sq_array, cq_tail, cq_entries = params[11], params[16], params[21], params[25]
    queue = mmap.mmap(ring, sq_array + 16, offset=0)
    entries = mmap.mmap(ring, 4 * 64, offset=0x10000000)
    done = mmap.mmap(ring, cq_entries + 8 * 16, offset=0x8000000)
    try:
        buffer = ctypes.create_string_buffer(message, len(message))
        # IORING_OP_SEND_ZC
        entries[:64] = struct.pack("<BBHiQQII32x", 47, 0, 0, sock.fileno(), 0, ctypes.addressof(buffer), len(message), 0)
        queue[sq_array : sq_array + 4] = bytes(4)
        queue[sq_tail : sq_tail + 4] = struct.pack("I", 1)
        if libc.syscall(426, ring, 1, 1, 1, None, 0) != 1:
            return None
        assert struct.unpack_from("I", done, cq_tail)[0] >= 1
        result = struct.unpack_from("i", done, cq_entries + 8)[0]
        # The kernel may read the buffer until the answer is there: the caller keeps it.
        sock.buffer = buffer
        return "unknown" if result == -errno.EINVAL else result
    finally:
        for part in (queue, entries, done):
            part.close()
        os.close(ring)


def ring_zero_copy():
    """A process with a ring connects, and sends without copying, after a usual send."""
    sock = KeepingSocket()
    ring_send(sock, b"")
    sock.settimeout(60)
    sock.connect(("127.0.0.1", PORT))
    results = []
    for n in range(4):
        message = head(b"/ask/ring/%d" % n, length=300, method=b"POST") + b"r" * 300
        result = "send" if n == 0 else ring_send(sock, message)
        if result in ("send", "unknown", None):
            sock.sendall(message)
        results.append(result)
        if isinstance(result, int) and result < 0:
            break
        read_answer(sock)
    if results[-1] is not None and isinstance(results[-1], int) and results[-1] < 0:
        sock.close()
        return {"results": results, "headers": 0}
    return {**finish(sock), "results": results}


def ring_of_another_thread():
    """A thread has a ring, and another one connects. Both send on the socket."""

    def in_a_thread(message):
        found = []
        thread = threading.Thread(target=lambda: found.append(ring_send(sock, message)))
        thread.start()
        thread.join()
        return found[0]

    sock = KeepingSocket()
    if in_a_thread(b"") is None:
        return {"headers": 0}
    sock.settimeout(60)
    sock.connect(("127.0.0.1", PORT))
    results = []
    for n in range(4):
        message = head(b"/ask/ring/%d" % n, length=300, method=b"POST") + b"r" * 300
        result = "send" if n == 0 else in_a_thread(message)
        results.append(result)
        if isinstance(result, str):
            sock.sendall(message)
        elif result < 0:
            return {"results": results, "headers": 0}
        read_answer(sock)
    return {**finish(sock), "results": results}


def in_a_child(call):
    """What a call gives in a process of its own, whose threads used no ring before."""
    ends = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = call()
        except BaseException as error:
            said = {"error": repr(error), "headers": 0}
        os.write(ends[1], json.dumps(said).encode())
        os._exit(0)
    os.close(ends[1])
    with os.fdopen(ends[0], "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    return json.loads(said)


LIMITS = "/sys/fs/cgroup/memory"


def short_of_memory(is_early):
    """Connections in a memory group that has almost no memory for TCP (cgroup v1); `is_early`: they were opened before."""
    group = f"{LIMITS}/tracer-harm-{os.getpid()}"
    if not os.path.exists(f"{LIMITS}/memory.kmem.tcp.limit_in_bytes"):
        return {"headers": 0}
    os.mkdir(group)

    def write(name, text):
        with open(f"{group}/{name}", "w") as file:
            file.write(text)

    def fill(listener):
        """Bytes that nobody reads take what there is."""
        ends = []
        for _ in range(8):
            filler = socket.create_connection(listener.getsockname())
            ends += [filler, listener.accept()[0]]
            outcome(filler.send, bytes(1 << 20), socket.MSG_DONTWAIT)
        return ends

    def send(sock, message):
        sock.setblocking(False)
        end = time.monotonic() + 5
        while message and time.monotonic() < end:
            try:
                message = message[sock.send(message):]
            except BlockingIOError:
                time.sleep(0.001)
        if message:
            return {"headers": 0, "sent": False}
        sock.settimeout(60)
        read_answer(sock)
        return {"headers": finish(sock)["headers"], "sent": True}

    def answered(is_early):
        write("cgroup.procs", str(os.getpid()))
        # A limit that the agent lets pass is reached after some are connected.
        socks = [connect(False) for _ in range(4)] if is_early else []
        try:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                ends = fill(listener)
            socks += [connect(False) for _ in range(4 - len(socks))]
            sent = [send(sock, head(b"/ask/short/%d" % n)) for n, sock in enumerate(socks)]
            del ends
            return {"sent": [one["sent"] for one in sent], "headers": sum(one["headers"] for one in sent)}
        finally:
            with open(f"{LIMITS}/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))

    try:
        write("memory.kmem.tcp.limit_in_bytes", str(2 << 20 if is_early else 16384))
        return in_a_child(lambda: answered(is_early))
    finally:
        os.rmdir(group)


def urgent(blocking):
    """Urgent data, sent before, behind and between requests, and read from the answers."""
    sock = connect(blocking)
    seen = []
    sock.sendall(head(b"/ask/urgent/0"))
    read_answer(sock)
    for n in range(1, 3):
        seen.append(sock.send(head(b"/ask/urgent/%d" % n, length=1, method=b"POST") + b"u", socket.MSG_OOB))
        # The peer leaves the urgent byte out of its stream; this one completes the body.
        sock.sendall(b"v")
        read_answer(sock)
    return {**finish(sock), "seen": seen}


SO_PEEK_OFF, TCP_INQ, TCP_CM_INQ = 42, 36, 36


def inquired(blocking):
    """TCP_INQ and SO_PEEK_OFF: what waits, and a peek that goes on where the last ended."""
    sock = connect(blocking)
    results = [
        outcome(lambda: sock.setsockopt(socket.IPPROTO_TCP, TCP_INQ, 1) or 0),
        outcome(lambda: sock.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 0) or 0),
    ]
    for n in range(3):
        sock.sendall(head(b"/ask/inq/%d" % n))
        select.select([sock], [], [], 60)
        # The answer is sent at once, so all of it is there.
        peeked = [sock.recv(17, socket.MSG_PEEK) for _ in range(2)]
        data, ancillary, _, _ = sock.recvmsg(17, 64)
        waiting = [struct.unpack("i", text)[0] > 17 for _, kind, text in ancillary if kind == TCP_CM_INQ]
        results.append([len(part) for part in peeked] + [data == peeked[0]] + waiting)
        data += sock.recv(65536)
        assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"}"), data
    return {**finish(sock), "results": results}


SO_BUSY_POLL = 46


def busy_polled(is_late):
    """A receive that asks the network device for packets."""
    options = [(socket.SOL_SOCKET, SO_BUSY_POLL, 200)]
    sock = connect(False, options=[] if is_late else options)
    results = []
    for n in range(3):
        if is_late and n == 1:
            sock.setsockopt(*options[0])
        # Nothing is there.
        results.append(receive_now(sock, 10, 0))
        sock.sendall(head(b"/ask/busy/%d" % n))
        results.append(read_answer(sock) is not None)
    return {**finish(sock), "results": results}


def finish_keep(sock):
    sock.shutdown(socket.SHUT_WR)
    data = b""
    while True:
        part = sock.recv(65536)
        if not part:
            return json.loads(data.rsplit(b"\n", 1)[1])
        data += part


def sendfile(blocking):
    sock = connect(blocking)
    with tempfile.TemporaryFile() as file:
        body = random.Random(7).randbytes(3_000_000)
        file.write(body)
        file.flush()
        for _ in range(3):
            sock.sendall(head(b"/ask/file", length=len(body), method=b"PUT"))
            send_file(sock, file, len(body))
            read_answer(sock)
    return finish(sock)


def spliced(blocking, way):
    """The first bytes come from a file or from a pipe: the head, and a body behind it."""
    sock = connect(blocking)
    body = random.Random(11).randbytes(100_000)
    results = []
    for n in range(2):
        message = head(b"/ask/%s/%d" % (way.encode(), n), length=len(body), method=b"POST") + body
        if way == "file":
            with tempfile.TemporaryFile() as file:
                file.write(message)
                file.flush()
                send_file(sock, file, len(message))
        else:
            through_a_pipe(sock, message, way == "memory")
        results.append(len(read_answer(sock)))
    return {**finish(sock), "results": results}


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def through_a_pipe(sock, message, is_memory):
    """By splice; the pipe gets copies of the bytes, or the memory itself (vmsplice)."""
    libc = ctypes.CDLL(None, use_errno=True)
    out, into = os.pipe()
    memory = ctypes.create_string_buffer(message, len(message))
    try:
        at = 0
        while at < len(message):
            if is_memory:
                vector = Vector(ctypes.addressof(memory) + at, min(len(message) - at, 16384))
                there = libc.vmsplice(into, ctypes.byref(vector), ctypes.c_size_t(1), 0)
            else:
                there = os.write(into, message[at : at + 16384])
            assert there > 0, ctypes.get_errno()
            at += there
            while there:
                moved = libc.splice(out, None, sock.fileno(), None, ctypes.c_size_t(there), 0)
                if moved < 0 and ctypes.get_errno() == errno.EAGAIN:
                    select.select([], [sock], [], 60)
                    continue
                assert moved > 0, ctypes.get_errno()
                there -= moved
    finally:
        os.close(out)
        os.close(into)
    # The pages may still wait in the socket.
    sock.buffer = memory


IPV6_ADDRFORM = 1


def converted(blocking):
    """An IPv6 socket with an IPv4 peer becomes an IPv4 socket before the first send."""
    sock = connect(blocking, mapped=True)
    result = outcome(lambda: sock.setsockopt(socket.IPPROTO_IPV6, IPV6_ADDRFORM, socket.AF_INET) or 0)
    family = sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
    for n in range(2):
        sock.sendall(head(b"/ask/converted/%d" % n))
        read_answer(sock)
    return {**finish(sock), "result": result, "family": family}


def iscsi():
    """Requests to the port whose sockets the kernel takes over for iSCSI: nothing is in the way, so no header comes."""
    with socket.create_server(("127.32.60.1", 3260)) as listener, KeepingSocket() as sock:
        sock.settimeout(60)
        sock.connect(listener.getsockname())
        peer, _ = listener.accept()
        with peer:
            sock.sendall(head(b"/iscsi"))
            got = peer.recv(65536)
    return {"headers": got.count(b"traceparent"), "length": len(got)}


TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21


def repaired(blocking):
    """A checkpoint (TCP_REPAIR) of a connection on which nothing was sent: both queues are read."""
    sock = connect(blocking)

    def option(name, value):
        return outcome(lambda: sock.setsockopt(socket.IPPROTO_TCP, name, value) or 0)

    results = [option(TCP_REPAIR, 1)]
    for queue in (1, 2):
        results.append(option(TCP_REPAIR_QUEUE, queue))
        results.append(outcome(lambda: min(1, abs(sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ)))))
        results.append(receive_now(sock, 100, socket.MSG_PEEK))
    # Without a probe of the window.
    results.append(option(TCP_REPAIR, -1))
    for n in range(2):
        sock.sendall(head(b"/ask/repaired/%d" % n))
        read_answer(sock)
    return {**finish(sock), "results": results}


SOL_TLS, TLS_TX = 282, 1


def layered_first(blocking, layer):
    """An upper layer before the first send. With kTLS and a key that is known, the records are the same every time."""
    sock = connect(blocking)
    results = [outcome(lambda: sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, layer) or 0)]
    if layer == b"tls" and results == [0]:
        # struct tls12_crypto_info_aes_gcm_128, TLS 1.2: iv, key, salt, sequence.
        key = struct.pack("HH8s16s4s8s", 0x0303, 51, bytes(8), bytes(range(16)), bytes(4), bytes(8))
        results.append(outcome(lambda: sock.setsockopt(SOL_TLS, TLS_TX, key) or 0))
    if layer != b"tls":
        # What it sends is for its peer's kernel.
        sock.close()
        return {"results": results, "headers": 0}
    for n in range(3):
        results.append(outcome(sock.send, head(b"/silent/layered/%d" % n)))
    return {**finish(sock), "results": results}


AF_SMC = 43


def smc():
    """SMC, which goes back to TCP where the other end does not speak it."""
    try:
        sock = socket.socket(AF_SMC, socket.SOCK_STREAM)
    except OSError as error:
        return {"result": error.errno, "headers": 0}
    sock.settimeout(60)
    address = struct.pack("=H2s4s8x", socket.AF_INET, struct.pack("!H", PORT), bytes((127, 0, 0, 1)))
    libc = ctypes.CDLL(None, use_errno=True)
    sock.setblocking(True)
    if libc.connect(sock.fileno(), address, len(address)) < 0:
        return {"result": ctypes.get_errno(), "headers": 0}
    for n in range(3):
        sock.sendall(head(b"/ask/smc/%d" % n))
        read_answer(sock)
    return finish(sock)


SO_TIMESTAMPING = 37
# SOF_TIMESTAMPING_*, include/uapi/linux/net_tstamp.h
TX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY = 2, 16, 128, 2048


def stamped(blocking, is_late, asks):
    """Timestamps of sends, that the option asks for, or a control message of each send. One comes for each send, and again
    if the kernel sends the bytes again, as on a busy machine."""
    # Keys begin on a connection.
    flags = SOFTWARE | OPT_TSONLY | (OPT_ID if is_late else 0) | (TX_SOFTWARE if asks == "option" else 0)
    option = (socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
    sock = connect(blocking, options=[] if is_late else [option])
    if is_late:
        sock.setsockopt(*option)
    message = [(socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("I", TX_SOFTWARE))] if asks == "message" else []
    stamped, keys = [], set()
    for n in range(3):
        body = bytes(50_000)
        request = head(b"/ask/stamped/%d" % n, length=len(body), method=b"POST") + body
        assert sock.sendmsg([request], message) == len(request)
        read_answer(sock)
        stamped.append(False)
        # An object without a timeout does not wait.
        with socket.socket(fileno=os.dup(sock.fileno())) as once:
            try:
                while True:
                    _, ancillary, _, _ = once.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                    errors = [data for level, _, data in ancillary if level == socket.IPPROTO_IP]
                    # The key: the last byte that the stamp is for (`ee_data` of `sock_extended_err`).
                    keys.update(struct.unpack_from("IBBBBII", data)[6] for data in errors)
                    stamped[-1] = True
            except BlockingIOError:
                pass
    return {**finish(sock), "stamped": stamped, "keys": sorted(keys)}


TCP_SAVE_SYN, TCP_SAVED_SYN, IP_RECVERR, IPV6_RECVERR = 27, 28, 11, 25


def unreachable(is_ipv6, is_late):
    """A router's error on a connection that reports them: once, by a receive; the connection goes on."""
    option = (socket.IPPROTO_IPV6, IPV6_RECVERR, 1) if is_ipv6 else (socket.IPPROTO_IP, IP_RECVERR, 1)
    family, host = (socket.AF_INET6, "::1") if is_ipv6 else (socket.AF_INET, "127.0.0.1")
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError as error:
        return {"result": error.errno, "headers": 0}
    with listener, KeepingSocket(family) as sock:
        listener.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)
        sock.setblocking(False)
        if not is_late:
            sock.setsockopt(*option)
        sock.connect_ex(listener.getsockname())
        peer, _ = listener.accept()
        select.select([], [sock], [], 60)
        if is_late:
            sock.setsockopt(*option)
        with peer:
            report_unreachable(is_ipv6, peer.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 200))
            seen = [outcome(sock.recv, 100) for _ in range(2)]
            request = head(b"/unreachable")
            seen += [outcome(sock.send, request), outcome(sock.send, request)]
            sock.shutdown(socket.SHUT_WR)
            got = b""
            while part := peer.recv(65536):
                got += part
    return {"seen": seen, "length": len(got), "headers": got.count(b"traceparent")}


def report_unreachable(is_ipv6, syn):
    """Sends the ICMP message of a router that finds no way for the next bytes behind this SYN."""
    length = 40 if is_ipv6 else (syn[0] & 15) * 4
    ports, (first,) = syn[length : length + 4], struct.unpack_from("!I", syn, length + 4)
    about = syn[:length] + ports + struct.pack("!I", (first + 1) % (1 << 32))
    if is_ipv6:
        # Address unreachable. The kernel computes the checksum, and the next bytes of TCP's header do not matter.
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.sendto(struct.pack("!BBHI", 1, 3, 0, 0) + about + bytes(12), ("::1", 0))
        return
    message = struct.pack("!BBHI", 3, 1, 0, 0) + about
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(message[:2] + struct.pack("!H", total) + message[4:], ("127.0.0.1", 0))


def peeked(blocking):
    """SO_PEEK_OFF before anything was sent (for TCP since 6.9)."""
    sock = connect(blocking)

    def offset():
        return outcome(lambda: sock.getsockopt(socket.SOL_SOCKET, SO_PEEK_OFF))

    results = [outcome(lambda: sock.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 3) or 0)]
    results.append(receive_now(sock, 5, socket.MSG_PEEK))
    results.append(offset())
    for n in range(2):
        sock.sendall(head(b"/ask/peeked/%d" % n))
        select.select([sock], [], [], 60)
        before = offset()
        part = sock.recv(5, socket.MSG_PEEK)
        after = offset()
        data = sock.recv(65536)
        results.append([before, data.index(part), after, offset()])
        results.append(outcome(lambda: sock.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 3) or 0))
    return {**finish(sock), "results": results}


def segments():
    """One small send is one segment."""
    sock = connect(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    counts = []
    for n in range(10):
        sock.sendall(head(b"/ask/%d" % n, length=100, method=b"POST", pad=400) + b"s" * 100)
        counts.append(read_answer(sock)["segments"])
    report = finish(sock)
    return {**report, "segments": counts}


# A receiver acknowledges a small segment after 40 ms at least, unless it has an answer.
DELAYED = 0.02


def whole(size, way):
    """Requests in one send each, without TCP_NODELAY: none has a small segment in its middle, for whose acknowledgement
    its end would wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        idle = socket.create_connection(listener.getsockname())
        holder, _ = listener.accept()
    sock = connect(False)
    slow = segments = 0
    for n in range(200):
        if way == "chunked":
            top = head(b"/ask/whole/%d" % n, b"Transfer-Encoding: chunked\r\n", method=b"POST")
            message = top + b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n"
        else:
            message = head(b"/ask/whole/%d" % n, length=size, method=b"POST") + bytes(size)
        # A byte that nobody reads holds the memory of the thread's sends, so that the next is cut at any place.
        holder.send(b"h")
        begin = time.monotonic()
        assert sock.send(message) == len(message)
        segments = read_answer(sock)["segments"]
        slow += time.monotonic() - begin > DELAYED
    holder.close()
    idle.close()
    # A busy machine has slow requests of its own, an emulated one many. A window can end within a long request.
    waits = slow if slow > 20 and "TRACER_TEST_SLOW" not in os.environ else 0
    split = segments if segments > 220 and size < 16384 else 0
    return {**finish(sock), "waits": waits, "split": split}


def upload(blocking):
    """50 MiB in writes of any size."""
    sock = connect(blocking)
    dice = random.Random(5)
    left = 50 << 20
    sock.sendall(head(b"/ask/upload", length=left, method=b"POST"))
    block = dice.randbytes(1 << 20)
    while left:
        size = min(left, dice.choice((1, 70, 1000, 4096, 100_000, 1 << 20)))
        sock.sendall(block[:size])
        left -= size
    read_answer(sock)
    return finish(sock)


UPGRADE = head(b"/ask/ws", b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
CONNECT = b"CONNECT judge:443 HTTP/1.1\r\nHost: judge:443\r\n\r\n"


def everything():
    results = {}
    for blocking in (False, True):
        way = "blocking" if blocking else "waiting"
        results[f"ask {way}"] = ask_many(blocking)
        results[f"lures {way}"] = lures(blocking)
        results[f"upgrade {way}"] = tunnel(blocking, UPGRADE)
        results[f"connect {way}"] = tunnel(blocking, CONNECT)
        results[f"cut {way}"] = cut(blocking)
        results[f"long {way}"] = long(blocking)
        results[f"own {way}"] = own(blocking)
        results[f"sendfile {way}"] = sendfile(blocking)
        results[f"upload {way}"] = upload(blocking)
        results[f"twice {way}"] = odd(blocking, b"Content-Length: 5\r\n", 5)
        results[f"folded {way}"] = odd(blocking, b"X-Folded: a\r\n b\r\n")
        results[f"bare {way}"] = odd(blocking, b"X-Bare: a\nX-Next: b\r\n")
        results[f"closed {way}"] = closed(blocking)
        results[f"other protocol {way}"] = other_protocol(blocking)
        for sndbuf in (4608, 16384):
            results[f"small {sndbuf} {way}"] = small(blocking, sndbuf)
        for receives in (False, True):
            results[f"reset {receives} {way}"] = reset(blocking, receives)
    results["layered"] = layered()
    results["multipath"] = multipath()
    results["draining"] = draining()
    for sndbuf in (4608, 16384, 0):
        for size in (120, 200, 900, 5000):
            results[f"flood {sndbuf} {size}"] = flood(sndbuf, size)
    results["signals"] = signals()
    results["reconnected"] = reconnected()
    results["stopped"] = stopped()
    results["zero copy"] = zero_copy(False, False)
    results["segments"] = segments()
    for size in (10_000, 60_000):
        for way in ("sized", "chunked"):
            results[f"whole {size} {way}"] = whole(size, way)
    results["iscsi"] = iscsi()
    for blocking in (False, True):
        way = "blocking" if blocking else "waiting"
        results[f"urgent {way}"] = urgent(blocking)
        results[f"inquired {way}"] = inquired(blocking)
        results[f"late zero copy {way}"] = zero_copy(blocking, True)
        for source in ("file", "pipe", "memory"):
            results[f"spliced {source} {way}"] = spliced(blocking, source)
        results[f"repaired {way}"] = repaired(blocking)
        results[f"converted {way}"] = converted(blocking)
        for layer in ("tls", "espintcp"):
            results[f"first {layer} {way}"] = layered_first(blocking, layer.encode())
        results[f"peeked {way}"] = peeked(blocking)
        for asks in ("option", "message"):
            results[f"stamped by {asks} {way}"] = stamped(blocking, False, asks)
            results[f"late stamped by {asks} {way}"] = stamped(blocking, True, asks)
    for is_ipv6 in (False, True):
        version = 6 if is_ipv6 else 4
        results[f"unreachable by IPv{version}"] = unreachable(is_ipv6, False)
        results[f"late unreachable by IPv{version}"] = unreachable(is_ipv6, True)
    results["busy polled"] = busy_polled(False)
    results["late busy polled"] = busy_polled(True)
    results["smc"] = smc()
    results["ring"] = in_a_child(ring_zero_copy)
    results["ring of another thread"] = in_a_child(ring_of_another_thread)
    results["short of memory"] = short_of_memory(False)
    results["soon short of memory"] = short_of_memory(True)
    return results


if __name__ == "__main__":
    began = time.monotonic()
    print(json.dumps(everything()))
    print(time.monotonic() - began, file=sys.stderr)
