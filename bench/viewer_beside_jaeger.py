"""Sends the same spans by OTLP over HTTP to several receivers, and prints what each took for them.

    python3 bench/viewer_beside_jaeger.py 200000 tracer:PID:PORT jaeger:PID:PORT

Each receiver is a name, its process and its port of OTLP over HTTP on loopback. `cargo xtask setup` installs the Python
packages that make the requests.
"""

import http.client
import os
import random
import sys
import time

from traffic import requests


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


random.seed(1)
made = list(requests(int(sys.argv[1])))
bodies, spans = [body for body, *_ in made], sum(count for _, count, _ in made)
print(f"{spans} spans of {sum(map(len, bodies)) / spans:.0f} bytes of protobuf\n")
print(f"{'receiver':<10} {'spans/s of processor time':>26} {'bytes of memory a span':>24}")
for receiver in sys.argv[2:]:
    name, pid, port = receiver.split(":")
    client = http.client.HTTPConnection("127.0.0.1", int(port))
    used, held = processor_seconds(pid), resident_bytes(pid)
    for body in bodies:
        client.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
        answer = client.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    # What goes on behind the answer counts too.
    time.sleep(3)
    used, held = processor_seconds(pid) - used, resident_bytes(pid) - held
    print(f"{name:<10} {spans / used:>26,.0f} {held / spans:>24,.0f}")
