"""The known differences: what comes of each use of a socket that a sockmap changes (docs/traces.md, "Known differences
for the application"). Both ends of every connection are here."""

import ctypes
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import sys

sys.dont_write_bytecode = True
from harm import PORT, connect, errno, head, in_a_child, outcome, receive_now, ring_send  # noqa: E402

LIBC = ctypes.CDLL(None, use_errno=True)
LISTENER = socket.create_server(("127.0.0.1", PORT))
REQUEST = head(b"/known")


def pair(blocking):
    """A connection on which nothing was sent, and its other end."""
    sock = connect(blocking)
    return sock, LISTENER.accept()[0]


def called(function, *arguments):
    """What a function of the C library gives: its result, or its error."""
    result = function(*arguments)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result


def no_urgent_data(blocking, is_sent):
    sock, _peer = pair(blocking)
    if is_sent:
        sock.sendall(REQUEST)
    return receive_now(sock, 1, socket.MSG_OOB)


def zero_bytes(is_sent):
    """A receive of zero bytes, and a send of zero bytes once the socket is shut down for writing."""
    sock, _peer = pair(False)
    if is_sent:
        sock.sendall(REQUEST)
    # Python makes no call for a receive of zero bytes.
    buffer = ctypes.create_string_buffer(1)
    received = called(LIBC.recv, sock.fileno(), buffer, ctypes.c_size_t(0), socket.MSG_DONTWAIT)
    sock.shutdown(socket.SHUT_WR)
    return [received, called(LIBC.send, sock.fileno(), buffer, ctypes.c_size_t(0), socket.MSG_NOSIGNAL)]


# The number of the system call, in which a process is shown while it sleeps there.
RECVFROM = {"x86_64": "45", "aarch64": "207"}[os.uname().machine]


def waits_in(pid):
    """The function of the kernel in which a process sleeps."""
    return open(f"/proc/{pid}/wchan").read()


def disturbed(sock, peer, disturb):
    """Two receives of a blocking socket; a child disturbs the first one when it waits."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        # It may sleep for the lock of the socket first.
        while open(f"/proc/{parent}/syscall").read().split()[0] != RECVFROM or waits_in(parent) != "wait_woken":
            os.sched_yield()
        disturb(parent)
        # Its end would close the peer, which is one disturbance more.
        signal.pause()
    peer.close()
    buffer = ctypes.create_string_buffer(100)
    seen = []
    for flags in (0, socket.MSG_DONTWAIT):
        seen.append(called(LIBC.recv, sock.fileno(), buffer, ctypes.c_size_t(100), flags))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return seen


def reset():
    sock, peer = pair(True)

    def disturb(_):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    return disturbed(sock, peer, disturb)


def shut_down():
    sock, peer = pair(True)
    return disturbed(sock, peer, lambda _: sock.shutdown(socket.SHUT_RD))


def interrupted(blocking, restart):
    """A signal during a receive, whose handler lets the call start again or not. The peer sends later. A socket that did
    not block when it connected has sent a request, and blocks now."""
    sock, peer = pair(blocking)
    if not blocking:
        sock.sendall(REQUEST)
        sock.settimeout(None)
    handled = socket.socketpair()
    handled[0].setblocking(False)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, not restart)
    signal.set_wakeup_fd(handled[0].fileno())

    def disturb(parent):
        os.kill(parent, signal.SIGUSR1)
        # The handler itself writes it.
        handled[1].recv(1)
        if restart:
            peer.send(b"answer")

    seen = disturbed(sock, peer, disturb)
    signal.set_wakeup_fd(-1)
    # The answer may come before the second receive.
    return seen[0]


def invalid_message(blocking):
    """A control message that nobody knows."""
    sock, _peer = pair(blocking)
    message = [(socket.SOL_SOCKET, 9999, bytes(4))]
    return [outcome(sock.sendmsg, [REQUEST], message) == len(REQUEST) or "EINVAL" for _ in range(2)]


SO_TIMESTAMPING, TX_SOFTWARE = 37, 2


def stamp_of_a_message(blocking):
    """A control message asks for a timestamp, on a socket without an option for timestamps: notices that come."""
    sock, _peer = pair(blocking)
    message = [(socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("I", TX_SOFTWARE))]
    notices = []
    for _ in range(2):
        sock.sendmsg([REQUEST], message)
        notices.append(isinstance(receive_now(sock, 1000, socket.MSG_ERRQUEUE), int))
    return notices


PAGE = mmap.PAGESIZE


def unreadable(readable, length):
    """A send of so many bytes from memory of which so many can be read."""
    sock, _peer = pair(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    size = (length + PAGE - 1) // PAGE * PAGE
    memory = mmap.mmap(-1, size)
    memory[: len(REQUEST)] = REQUEST
    view = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(view)
    assert LIBC.mprotect(ctypes.c_void_p(address + readable), ctypes.c_size_t(size - readable), 0) == 0
    sent = called(LIBC.send, sock.fileno(), ctypes.c_void_p(address), ctypes.c_size_t(length), 0)
    return "a part" if sent not in (0, length) and isinstance(sent, int) else sent


def late_ring():
    """The process creates its first ring of io_uring after it has connected, and sends without copying."""
    sock, _peer = pair(False)
    sent = ring_send(sock, REQUEST)
    if isinstance(sent, int):
        return "all" if sent == len(REQUEST) else errno.errorcode[-sent]
    # No io_uring here, or none that sends so.
    return None


AF_KCM, KCMPROTO_CONNECTED, SIOCKCMATTACH = 41, 0, 0x89E0
BPF_PROG_LOAD, BPF_PROG_TYPE_SOCKET_FILTER = 5, 1
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
# return 0
PROGRAM = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)


def multiplexed():
    """The socket is attached to a multiplexor of the kernel (KCM), with a program that finds messages."""
    try:
        multiplexor = socket.socket(AF_KCM, socket.SOCK_DGRAM, KCMPROTO_CONNECTED)
    except OSError:
        return None
    sock, _peer = pair(False)
    program = ctypes.create_string_buffer(PROGRAM, len(PROGRAM))
    licence = ctypes.create_string_buffer(b"GPL")
    load = struct.pack("=IIQQ", BPF_PROG_TYPE_SOCKET_FILTER, 2, ctypes.addressof(program), ctypes.addressof(licence))
    descriptor = called(LIBC.syscall, SYS_BPF, BPF_PROG_LOAD, ctypes.create_string_buffer(load, 128), 128)
    attach = struct.pack("=ii", sock.fileno(), descriptor)
    attached = outcome(fcntl.ioctl, multiplexor, SIOCKCMATTACH, attach)
    return "attached" if attached == len(attach) else attached


SIOCOUTQ, TCP_INFO_BYTES_SENT = 0x5411, 200


def counted():
    """Bytes that the kernel counts as sent, beside those of the request."""
    sock, _peer = pair(False)
    sock.sendall(REQUEST)
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("Q", info, TCP_INFO_BYTES_SENT)[0] - len(REQUEST)


def everything():
    results = {}
    for blocking in (False, True):
        way = "blocking" if blocking else "waiting"
        results[f"no urgent data {way}"] = no_urgent_data(blocking, False)
        results[f"no urgent data {way}, after a send"] = no_urgent_data(blocking, True)
        results[f"interrupted {way}"] = interrupted(blocking, False)
        results[f"interrupted {way}, restart"] = interrupted(blocking, True)
        results[f"invalid message {way}"] = invalid_message(blocking)
        results[f"stamp of a message {way}"] = stamp_of_a_message(blocking)
    results["zero bytes"] = zero_bytes(False)
    results["zero bytes, after a send"] = zero_bytes(True)
    results["reset"] = reset()
    results["shut down"] = shut_down()
    results["unreadable"] = unreadable(0, 2 * PAGE)
    results["unreadable, long"] = unreadable(0, 1 << 20)
    results["unreadable in part"] = unreadable(40 * PAGE, 41 * PAGE)
    results["late ring"] = in_a_child(late_ring)
    results["multiplexed"] = multiplexed()
    results["counted"] = counted()
    return results


if __name__ == "__main__":
    print(json.dumps(everything()))
