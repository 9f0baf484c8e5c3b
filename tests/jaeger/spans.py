"""Traces for `cargo xtask jaeger`: rich in everything that OTLP can say, and the same at each run but for the moment at which
they begin."""

import random

SECOND, MILLI, MICRO = 10**9, 10**6, 10**3


def value(of):
    """OTLP's JSON of a value: bytes, lists and objects included; None is the value that says nothing."""
    if of is None:
        return {}
    if isinstance(of, bool):
        return {"boolValue": of}
    if isinstance(of, int):
        return {"intValue": str(of)}
    if isinstance(of, float):
        return {"doubleValue": of}
    if isinstance(of, bytes):
        import base64
        return {"bytesValue": base64.b64encode(of).decode()}
    if isinstance(of, list):
        return {"arrayValue": {"values": [value(item) for item in of]}}
    if isinstance(of, dict):
        return {"kvlistValue": {"values": attributes(of)}}
    return {"stringValue": of}


def attributes(of):
    return [{"key": key, "value": value(item)} for key, item in of.items()]


class Traces:
    """Makes the requests. `ids` names the traces that questions ask for."""

    def __init__(self, base_ns):
        self.base_ns, self.random, self.ids, self.requests = base_ns, random.Random(16), {}, []
        self.spans_sent = 0

    def trace(self, name, is_short=False):
        high = 0 if is_short else self.random.getrandbits(64) | 1
        self.ids[name] = f"{high:016x}{self.random.getrandbits(64) | 1:016x}"
        return self.ids[name]

    def span(self, trace, number, parent, name, kind, begin_ns, length_ns, **more):
        begin = self.base_ns + begin_ns
        made = {
            "traceId": trace,
            "spanId": f"{number:016x}",
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(begin),
            "endTimeUnixNano": str(begin + length_ns),
        }
        if parent is not None:
            made["parentSpanId"] = f"{parent:016x}"
        made["attributes"] = attributes(more.pop("attributes", {}))
        made["events"] = [
            {"timeUnixNano": str(begin + at), "name": event, "attributes": attributes(of)}
            for at, event, of in more.pop("events", [])
        ]
        made["links"] = [
            {"traceId": to, "spanId": f"{of:016x}", "attributes": attributes(said)}
            for to, of, said in more.pop("links", [])
        ]
        return made | more

    def send(self, *resources, scope=None):
        """One request: pairs of a resource's attributes (or a service's name) and its spans."""
        made = []
        for resource, spans in resources:
            self.spans_sent += len(spans)
            of = {"service.name": resource} if isinstance(resource, str) else resource
            scoped = {"scope": {"name": "lib", "version": "1.2"} if scope is None else scope, "spans": spans}
            made.append({"resource": {"attributes": attributes(of)}, "scopeSpans": [scoped]})
        self.requests.append({"resourceSpans": made})


def call(traces, name, at, is_short=False, skew=0, status=None, length_ns=9 * MILLI, **more):
    """A request to the shop, which asks the cart, which asks its database."""
    trace, span = traces.trace(name, is_short), traces.span
    end = {"status": status} if status else {}
    shop = [
        span(trace, 1, None, "GET /buy", 2, at, length_ns, traceState="a=b,c=d", attributes={
            "http.request.method": "GET", "http.response.status_code": 200, "n": at // SECOND, "url.path": f"/buy/{at}",
        } | more),
        span(trace, 2, 1, "GET /cart", 3, at + MILLI, length_ns - 2 * MILLI, attributes={"peer.service": "cart"}),
    ]
    cart = [
        span(trace, 3, 2, "GET /cart", 2, at + 2 * MILLI + skew, length_ns - 4 * MILLI, **end),
        span(trace, 4, 3, "work", 1, at + 2 * MILLI + skew, MILLI),
        span(trace, 5, 3, "SELECT", 3, at + 3 * MILLI + skew, MILLI, attributes={"db.system.name": "postgresql"}),
    ]
    traces.send(
        ({"service.name": "shop", "host.name": "h1", "process.pid": 7, "service.version": "1"}, shop),
        ({"service.name": "cart", "host.name": "h2"}, cart),
    )
    return trace


def everything(base_ns):
    """All of them."""
    traces = Traces(base_ns)
    span = traces.span
    for n in range(6):
        call(traces, f"plain {n}", n * SECOND, length_ns=(9 + n) * MILLI)
    call(traces, "short", 6 * SECOND, is_short=True)
    call(traces, "error", 7 * SECOND, status={"code": 2, "message": "no such cart"})
    call(traces, "ok", 8 * SECOND, status={"code": 1})
    call(traces, "told", 9 * SECOND, status={"message": "unset, and says something"})
    call(traces, "early", 10 * SECOND, skew=-50 * MILLI)
    call(traces, "late", 11 * SECOND, skew=2 * SECOND)
    call(traces, "slow", 12 * SECOND, length_ns=3 * SECOND)

    types = {
        "text": "plain", "empty": "", "unicode": "Grüße, 世界 🦀", "control": "a\u0001\tb\u007f\u2028", "html": "<b>&\"'</b>",
        "yes": True, "no": False, "zero": 0, "minus": -1, "large": 2**53 + 1, "largest": 2**63 - 1, "least": -(2**63),
        "half": 0.5, "whole": 3.0, "tiny": 1e-7, "huge": 1e21, "exact": 123456789.125, "negative": -2.5e-3,
        "bytes": b"\x00\x01\xff", "no bytes": b"", "nothing": None, "list": ["a", 1, True, 0.5, None], "no list": [],
        "map": {"a": 1, "b": ["c", {"d": False}]}, "no map": {}, "long": "x" * 20_000, "": "no key", "with space": "v",
        "dup": "first",
    }
    trace = traces.trace("types")
    traces.send(({"service.name": "types"} | {f"r.{key}": of for key, of in types.items()}, [
        span(trace, 1, None, "all types", 2, 20 * SECOND, MILLI, attributes=types,
             events=[(10, "of all types", types), (20, "", {}), (30, "exception", {
                 "exception.type": "E", "exception.message": "m", "exception.stacktrace": "at x\n at y"})]),
    ]))

    trace = traces.trace("kinds")
    traces.send(("kinds", [span(trace, kind + 1, 1 if kind else None, f"kind {kind}", kind, 21 * SECOND + kind, MILLI)
                           for kind in range(6)]))

    other = traces.trace("linked")
    traces.send(("links", [span(other, 1, None, "linked", 4, 22 * SECOND, MILLI, links=[
        (traces.ids["types"], 1, {"why": "batch"}), (other, 9, {"opentracing.ref_type": "child_of"}),
        (other, 1, {"opentracing.ref_type": "follows_from"}), (traces.ids["short"], 1, {}),
    ])]))

    trace = traces.trace("orphans")
    traces.send(("orphans", [
        span(trace, 2, 1, "its parent is missing", 2, 23 * SECOND, MILLI),
        span(trace, 3, 2, "child", 1, 23 * SECOND + MICRO, MILLI),
        span(trace, 5, 4, "its parent is missing too", 2, 23 * SECOND + 5 * MILLI, MILLI),
    ]))

    trace = traces.trace("twice")
    same = span(trace, 1, None, "sent twice", 2, 24 * SECOND, MILLI)
    traces.send(("twice", [same, dict(same), span(trace, 2, 1, "child", 1, 24 * SECOND, MICRO)]))

    trace = traces.trace("shared")
    traces.send(
        ("caller", [span(trace, 1, None, "root", 2, 25 * SECOND, 8 * MILLI),
                    span(trace, 2, 1, "call", 3, 25 * SECOND + MILLI, 6 * MILLI)]),
        ("callee", [span(trace, 2, 1, "call", 2, 25 * SECOND + 2 * MILLI, 4 * MILLI)]),
    )

    trace = traces.trace("circle")
    traces.send(("circle", [span(trace, 1, 2, "a", 1, 26 * SECOND, MILLI), span(trace, 2, 1, "b", 1, 26 * SECOND, MILLI),
                            span(trace, 3, 3, "its own parent", 1, 26 * SECOND, MILLI)]))

    trace = traces.trace("times")
    traces.send(("times", [
        span(trace, 1, None, "longest", 2, 27 * SECOND, 3_600 * SECOND),
        span(trace, 2, 1, "no time", 1, 27 * SECOND, 0),
        span(trace, 3, 1, "below a microsecond", 1, 27 * SECOND + 1, 999),
        span(trace, 4, 1, "not whole microseconds", 1, 27 * SECOND + 1_501, 1_999),
    ]))

    trace = traces.trace("names")
    traces.send(("météo ☂", [span(trace, 1, None, "prévision 明日", 2, 28 * SECOND, MILLI, attributes={"ville": "Zürich"})]),
                ("a/b c", [span(trace, 2, 1, "slash/and blank?&=#%", 2, 28 * SECOND, MICRO)]),
                ("Shop", [span(trace, 3, 1, "", 1, 28 * SECOND, MICRO)]))

    trace = traces.trace("scopes")
    traces.send(("scopes", [span(trace, 1, None, "without a version", 2, 29 * SECOND, MILLI)]), scope={"name": "only"})
    traces.send(("scopes", [span(trace, 2, 1, "without a scope", 1, 29 * SECOND, MICRO, flags=257)]), scope={})
    traces.send(("scopes", [span(trace, 3, 1, "with attributes", 1, 29 * SECOND, MICRO, droppedAttributesCount=3,
                                 droppedEventsCount=2, droppedLinksCount=1)]),
                scope={"name": "full", "version": "2", "attributes": attributes({"scope.of": "it"})})

    trace = traces.trace("nameless")
    traces.send(({"host.name": "h3"}, [span(trace, 1, None, "of nobody", 2, 31 * SECOND, MILLI)]))

    trace = traces.trace("wide")
    wide = [span(trace, n + 1, None if n == 0 else 1 + (n - 1) // 4, f"step {n % 7}", 1, 30 * SECOND + n * MICRO, MILLI,
                 attributes={"n": n}) for n in range(300)]
    for begin in range(0, 300, 100):
        traces.send(("wide", wide[begin:begin + 100]))

    # Before any window that a question does not name.
    trace = traces.trace("old")
    traces.send(("old", [span(trace, 1, None, "three days ago", 2, -3 * 86_400 * SECOND, MILLI)]))
    return traces
