"""A client in a cgroup of its own, below which another program ends the calls that were asked for on a socket:
as one does that sets `bpf_sock_ops_cb_flags` to what it needs itself."""

import ctypes
import os
import platform
import socket
import struct
import subprocess
import sys
import time

port, folder = int(sys.argv[1]), sys.argv[2]
BPF_PROG_LOAD, BPF_PROG_ATTACH = 5, 8
BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, BPF_F_ALLOW_MULTI = 13, 3, 2
BPF_SOCK_OPS_HDR_OPT_LEN_CB = 14
BPF_FUNC_sock_ops_cb_flags_set = 59
SO_COOKIE = 57
NUMBER = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = libc.syscall(NUMBER, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


def instruction(code, registers=0, offset=0, value=0):
    return struct.pack("=BBhi", code, registers, offset, value)


program = b"".join([
    instruction(0x61, 0x12),  # r2 = ctx->op
    instruction(0x55, 0x02, 2, BPF_SOCK_OPS_HDR_OPT_LEN_CB),  # another: to the end
    instruction(0xB7, 0x02),  # r2 = 0
    instruction(0x85, 0, 0, BPF_FUNC_sock_ops_cb_flags_set),
    instruction(0xB7, 0x00, 0, 1),  # r0 = 1
    instruction(0x95),
])
code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
loaded = bpf(BPF_PROG_LOAD, struct.pack(
    "=IIQQ", BPF_PROG_TYPE_SOCK_OPS, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence)))

# The mount is this process's own (`unshare --mount`).
mount = os.path.join(folder, "cgroup")
os.mkdir(mount)
subprocess.run(["mount", "-t", "cgroup2", "none", mount], check=True)
group = os.path.join(mount, "tracer-test-%d" % os.getpid())
os.mkdir(group)


def move(to):
    with open(os.path.join(to, "cgroup.procs"), "w") as procs:
        procs.write(str(os.getpid()))


move(group)
try:
    target = os.open(group, os.O_RDONLY)
    bpf(BPF_PROG_ATTACH, struct.pack("=IIII", target, loaded, BPF_CGROUP_SOCK_OPS, BPF_F_ALLOW_MULTI))
    while not os.path.exists(os.path.join(folder, "traced")):
        time.sleep(0.05)
    sock = socket.create_connection(("127.0.0.1", port))
    for n in range(2):
        sock.sendall(b"GET /%d HTTP/1.1\r\nHost: judge\r\n\r\n" % n)
        data = b""
        while b"}" not in data:
            data += sock.recv(65536)
    cookie = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")
    print(cookie, b'"found": []' in data, flush=True)
    sys.stdin.read()
finally:
    move(mount)
    os.rmdir(group)
