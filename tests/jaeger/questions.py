"""The requests that `cargo xtask jaeger` asks both servers: every route, every parameter, right and wrong."""

from urllib.parse import quote, urlencode



def questions(traces):
    ids, base_us = traces.ids, traces.base_ns // 1000
    asked = []

    def ask(path, *pairs, **named):
        query = urlencode([*pairs, *named.items()])
        asked.append(path + ("?" + query if query else ""))

    # Services and operations.
    ask("/api/services")
    for service in ("shop", "cart", "kinds", "wide", "none", "météo ☂", "a/b c", "Shop", "SHOP"):
        ask(f"/api/services/{quote(service, safe='')}/operations")
        ask("/api/operations", service=service)
    for kind in ("server", "client", "internal", "producer", "consumer", "unspecified", "SERVER", "none", ""):
        ask("/api/operations", service="kinds", spanKind=kind)
    ask("/api/operations")
    ask("/api/operations", service="")

    # Traces by what they are: 1,000 are more than there are, so that a limit decides nothing.
    def search(service, *pairs, **named):
        ask("/api/traces", ("service", service), *pairs, ("limit", "1000"), **named)

    for service in ("shop", "cart", "types", "kinds", "links", "orphans", "twice", "caller", "callee", "circle", "times",
                    "scopes", "wide", "old", "none", "météo ☂", "a/b c", "Shop"):
        search(service)
    for operation in ("GET /buy", "work", "get /buy", "GET", "SELECT", "none"):
        search("shop", operation=operation)
        search("cart", operation=operation)
    search("Shop", operation="")
    for low, high in (("12ms", None), (None, "10ms"), ("10ms", "12ms"), ("1s", None), ("3s", "3s"), ("9000us", "9000000ns"),
                      ("1h", None), ("0.012s", None), ("0s", "0s"), (None, "1ns"), ("-1s", None)):
        search("shop", *([("minDuration", low)] if low else []), *([("maxDuration", high)] if high else []))
    search("shop", ("minDuration", "12ms"), operation="GET /cart")
    for tag in ("n:3", "http.response.status_code:200", "url.path:/buy/0", "host.name:h1", "host.name:h2", "process.pid:7",
                "peer.service:cart", "none:x", "n:", "http.request.method:GET", "http.request.method:get", ":x"):
        search("shop", tag=tag)
    for tag in ("yes:true", "no:false", "zero:0", "minus:-1", "large:9007199254740993", "least:-9223372036854775808",
                "half:0.5", "whole:3", "tiny:1e-07", "exact:123456789.125", "unicode:Grüße, 世界 🦀", "empty:", "html:<b>&\"'</b>",
                "with space:v", "r.text:plain", "r.large:9007199254740993", "list:[\"a\",1,true,0.5,null]", "bytes:AAH/",
                "map:{\"a\":1,\"b\":[\"c\",{\"d\":false}]}", "exception.type:E", "text:plai"):
        search("types", tag=tag)
    search("scopes", tag="scope.of:it")
    search("shop", ("tag", "n:3"), ("tag", "http.response.status_code:200"))
    search("shop", ("tag", "n:3"), ("tag", "n:4"))
    search("shop", ("tag", "n:3"), ("tags", '{"http.request.method":"GET"}'))
    for tags in ('{"n":"3"}', '{"n":"3","host.name":"h1"}', "{}", '{"none":"x"}'):
        search("shop", tags=tags)
    for service in ("shop", "cart"):
        for tag in ("error:true", "error:false", "error:x", "span.kind:server", "span.kind:client", "span.kind:x",
                    "otel.status_code:ERROR", "otel.status_code:OK"):
            search(service, tag=tag)
    at = lambda seconds: str(base_us + int(seconds * 1e6))
    for begin, end in ((0, 5), (3, 3), (3, 4), (2.5, 6.5), (5, 3), (-400_000, 100), (-400_000, 0), (100, 200)):
        search("shop", start=at(begin), end=at(end))
    search("old", start=at(-4 * 86_400), end=at(0))
    search("old", lookback="96h")
    search("shop", lookback="1h")
    search("shop", start=at(11))
    search("shop", end=at(2))
    search("shop", start="0", end="0")
    search("shop", start="-1", end=at(100))
    search("wide", raw="true")
    search("early"); search("shop", raw="true", tag="n:10"); search("shop", raw="false", tag="n:10")
    search("shop", prettyPrint="true", tag="n:3")
    search("shop", prettyPrint="false", tag="n:3")
    search("shop", unknown="parameter", tag="n:3")
    search("shop", ("service", "cart"))
    search("shop", tags='n=3 http.request.method="GET"')
    ask("/api/traces", service="types")
    ask("/api/traces", ("service", "shop"), ("limit", "3"))
    ask("/api/traces", ("service", "types"), ("limit", "1"))

    # Traces by their ids.
    # Jaeger's store keeps what an answer that is not raw did to its spans: raw ones are asked before.
    for name in ids:
        ask(f"/api/traces/{ids[name]}", raw="true")
        ask(f"/api/v3/traces/{ids[name]}", raw_traces="true")
    for name in ids:
        ask(f"/api/traces/{ids[name]}")
        ask(f"/api/v3/traces/{ids[name]}")
    by_id = lambda *names: [("traceID", ids[name]) for name in names]
    ask("/api/traces", *by_id("plain 1", "kinds"))
    ask("/api/traces", *by_id("plain 1", "plain 1"))
    ask("/api/traces", *by_id("plain 1"), ("traceID", "abc"), ("traceID", "0"))
    ask("/api/traces", *by_id("types"), raw="true")
    ask("/api/traces", *by_id("short"), service="none", limit="x1"[1:])
    ask("/api/traces", traceID=ids["short"].lstrip("0"))
    ask("/api/traces", *by_id("old"), start=at(0), end=at(1))
    ask(f"/api/traces/{ids['kinds'].upper()}")
    ask(f"/api/traces/{ids['short'].lstrip('0')}")
    ask(f"/api/v3/traces/{ids['short'].lstrip('0')}")
    ask(f"/api/traces/{ids['kinds']}", prettyPrint="true")
    ask(f"/api/traces/{ids['kinds']}", start=at(0), end=at(100))
    ask(f"/api/traces/{ids['old']}", start=at(0), end=at(100))
    ask(f"/api/v3/traces/{ids['kinds']}", start_time="2020-01-01T00:00:00Z", end_time="2100-01-01T00:00:00.123456789+01:00")

    # Dependencies.
    end_ms = base_us // 1000 + 120_000
    ask("/api/dependencies")
    ask("/api/dependencies", endTs=end_ms)
    ask("/api/dependencies", endTs=end_ms, lookback=600_000)
    for service in ("shop", "cart", "caller", "kinds", "none", ""):
        ask("/api/dependencies", endTs=end_ms, lookback=600_000, service=service)
    ask("/api/dependencies", endTs=1, lookback=1)
    ask("/api/dependencies", endTs=end_ms, lookback=0)

    # Version 3.
    ask("/api/v3/services")
    for service in ("shop", "cart", "kinds", "none", "météo ☂", "a/b c"):
        ask("/api/v3/operations", service=service)
    for kind in ("server", "internal", "none", ""):
        ask("/api/v3/operations", service="kinds", span_kind=kind)
    ask("/api/v3/operations")
    window = {"query.start_time_min": "2020-01-01T00:00:00Z", "query.start_time_max": "2100-01-01T00:00:00.5Z",
              "query.num_traces": "1000"}

    def search3(**named):
        ask("/api/v3/traces", **({f"query.{name}": of for name, of in named.items()} | window))

    for service in ("types", "kinds", "links", "orphans", "twice", "callee", "circle", "times", "scopes", "wide", "old",
                    "none", "météo ☂"):
        search3(service_name=service)
    search3(service_name="shop", operation_name="GET /buy")
    search3(service_name="shop", operation_name="work")
    search3(service_name="cart", operation_name="work")
    search3(service_name="shop", duration_min="1s")
    search3(service_name="shop", duration_min="10ms", duration_max="12ms")
    search3(service_name="types", raw_traces="true")
    search3(operation_name="all types")
    search3(service_name="shop", num_traces="3")
    ask("/api/v3/traces", **(window | {"query.service_name": "types", "query.num_traces": "1"}))

    unlimited = {name: of for name, of in window.items() if name != "query.num_traces"}
    ask("/api/v3/traces", **(unlimited | {"query.service_name": "types"}))

    # What is wrong.
    for pairs in ([], [("operation", "GET /buy")], [("service", "")], [("limit", "3")]):
        ask("/api/traces", *pairs)
    wrong = {
        "limit": ("x", "0", "-1", "1.5", "99999999999", "4294967297", "100000"),
        "start": ("x", "1.5", "99999999999999999999"), "end": ("x", "", "99999999999999999999"),
        "minDuration": ("5", "5x", "x", "1s2", "."), "maxDuration": ("5", "ms", "1e3s"),
        "tag": ("x", ""), "tags": ("{", "x", "[]", '{"a":1}', '{"a":null}', '{"a":{"b":"c"}}', '"x"'), "raw": ("x", "yes", "2"),
        "traceID": ("xyz", "a" * 33, "", "0x12"),
    }
    for name, values in wrong.items():
        for of in values:
            ask("/api/traces", ("service", "types"), (name, of))
    ask("/api/traces", service="shop", minDuration="2s", maxDuration="1s")
    ask("/api/traces", service="shop", minDuration="x", limit="x", start="x")
    for of in ("abc", "xyz", "0", "a" * 33, "0" * 32, "-1", "%20", "a b"):
        ask(f"/api/traces/{quote(of)}")
        ask(f"/api/v3/traces/{quote(of)}")
    for pair in ({"start": "x"}, {"end": "x"}, {"raw": "maybe"}, {"start": "1", "end": "x"}):
        ask(f"/api/traces/{ids['kinds']}", **pair)
    for pair in ({"start_time": "x"}, {"end_time": "1"}, {"raw_traces": "maybe"}):
        ask(f"/api/v3/traces/{ids['kinds']}", **pair)
    for pair in ({"endTs": "x"}, {"endTs": "1", "lookback": "x"}, {"lookback": "1h"}, {"endTs": "1.5"}):
        ask("/api/dependencies", **pair)
    ask("/api/v3/traces")
    ask("/api/v3/traces", **{"query.service_name": "shop"})
    ask("/api/v3/traces", **{"query.service_name": "shop", "query.start_time_min": "2020-01-01T00:00:00Z"})
    for name, values in {"query.start_time_min": ("x", "2020-01-01", "1"), "query.start_time_max": ("x", "2000-01-01T00:00:00Z"),
                         "query.num_traces": ("x", "0", "-1", "1.5"), "query.duration_min": ("5", "x"),
                         "query.duration_max": ("x",), "query.raw_traces": ("maybe",)}.items():
        for of in values:
            ask("/api/v3/traces", **(window | {"query.service_name": "kinds", name: of}))
    ask("/api/none")
    ask("/api/v3/none")
    ask("/api/traces/")
    ask("/api/services/")
    return asked
