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

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".tools", "python-sdk"))

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

SERVICES, SPANS_PER_TRACE, TRACES_PER_REQUEST = 5, 10, 50


def attribute(key, value):
    typed = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    return KeyValue(key=key, value=typed)


def span(into, trace_id, parent, k, number, begin_ns):
    made = into.spans.add()
    made.trace_id, made.span_id, made.parent_span_id = trace_id, random.randbytes(8), parent
    made.name, made.kind = "GET /item/{id}", 2 if k % 2 == 0 else 3
    made.start_time_unix_nano = begin_ns + k * 10_000
    made.end_time_unix_nano = begin_ns + random.randint(200_000, 90_000_000)
    made.attributes.extend([
        attribute("http.request.method", "GET"),
        attribute("http.response.status_code", 200),
        attribute("url.full", f"http://10.0.0.{k}/item/{number}?x={random.random()}"),
        attribute("url.scheme", "http"),
        attribute("server.address", f"10.0.0.{k}"),
        attribute("server.port", 8080),
        attribute("client.address", "10.0.1.2"),
        attribute("network.protocol.version", "1.1"),
        attribute("tracer.link.evidence", "wire"),
        attribute("http.response.body.size", random.randint(1, 5000)),
        attribute("thread.id", random.randint(1, 99)),
        attribute("http.route", "/item/:id"),
    ])
    return made.span_id


def requests(count):
    made, number, base = [], 0, time.time_ns() - 60 * 10**9
    while number < count:
        request, scopes = ExportTraceServiceRequest(), []
        for service in range(SERVICES):
            of_service = request.resource_spans.add()
            of_service.resource.attributes.extend([
                attribute("service.name", f"service-{service}"),
                attribute("host.name", "node-1"),
                attribute("process.pid", 1000 + service),
            ])
            scopes.append(of_service.scope_spans.add())
        for _ in range(TRACES_PER_REQUEST):
            trace_id, parent, begin_ns = random.randbytes(16), b"", base + number * 1000
            for k in range(SPANS_PER_TRACE):
                parent = span(scopes[k // 2], trace_id, parent, k, number, begin_ns)
                number += 1
        made.append(request.SerializeToString())
    return made, number


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


random.seed(1)
bodies, spans = requests(int(sys.argv[1]))
print(f"{spans} spans, {sum(map(len, bodies)) / spans:.0f} bytes of protobuf each")
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
    print(f"{name}: {spans / used:,.0f} spans a second of processor time, {held / spans:,.0f} bytes of memory a span")
