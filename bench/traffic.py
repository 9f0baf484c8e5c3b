"""Spans of services that call each other, as requests of OTLP."""

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
    """Requests with so many spans, each with its spans and its traces' ids in hexadecimal."""
    number, base = 0, time.time_ns() - 60 * 10**9
    while number < count:
        request, scopes, ids, begin = ExportTraceServiceRequest(), [], [], number
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
            ids.append(trace_id.hex())
            for k in range(SPANS_PER_TRACE):
                parent = span(scopes[k // 2], trace_id, parent, k, number, begin_ns)
                number += 1
        yield request.SerializeToString(), number - begin, ids
