"""Sends spans through the real Collector to `tracer view` in every way that both know, and compares what arrived.

    unshare --net python3 check.py COLLECTOR TRACER

It runs in a network namespace of its own, so that the viewer can have an address that is not loopback, and TLS on it.
"""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "jaeger"))

from spans import SECOND, Traces, everything

COLLECTOR, TRACER = (os.path.abspath(path) for path in sys.argv[1:3])
FOLDER = tempfile.mkdtemp(prefix="tracer-collector-")
OUTSIDE, TOKEN = "192.0.2.1", "a-token-for-this-check-only-0123456789"
PAGE, GRPC, HTTP, INTO = 8377, 4317, 4318, 5318
WAIT_SECONDS = 60
# Requests that the Collector sends at the same time, to make the viewer say "later": it takes 32 at a time.
AT_ONCE, MANY_REQUESTS, SPANS_OF_REQUEST = 128, 200, 2000


class Program:
    """A program with its output in a file; ended with the block."""

    def __init__(self, name, *command):
        self.log = os.path.join(FOLDER, f"{name}.log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def said(self):
        with open(self.log) as log:
            return log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait_until(what, met, *programs):
    end = time.monotonic() + WAIT_SECONDS
    while not met():
        if time.monotonic() > end:
            logs = "\n".join(f"{program.log}:\n{program.said()[-3000:]}" for program in programs)
            sys.exit(f"not within {WAIT_SECONDS} seconds: {what}\n{logs}")
        time.sleep(0.05)


def view(name, *more, tls=False):
    viewer = Program(name, TRACER, "view", "--listen", f"127.0.0.1:{PAGE}", *more)
    wait_until(f"the viewer {name} answers", lambda: answers(tls), viewer)
    return viewer


def ask(path, tls=False):
    if tls:
        context = ssl.create_default_context(cafile=os.path.join(FOLDER, "ca.pem"))
        client = http.client.HTTPSConnection("127.0.0.1", PAGE, timeout=30, context=context)
    else:
        client = http.client.HTTPConnection("127.0.0.1", PAGE, timeout=30)
    client.request("GET", path, headers={"authorization": f"Bearer {TOKEN}"})
    answer = client.getresponse()
    return answer.status, answer.read().decode()


def answers(tls):
    try:
        return ask("/healthz", tls)[0] == 200
    except OSError:
        return False


def held(tls=False):
    return json.loads(ask("/api/tracer/status", tls)[1])["store"]["spans"]


def collector(name, exporter, receiver=None):
    """The Collector with one way in and one way out."""
    kind = next(iter(exporter))
    configuration = {
        "receivers": receiver or {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{INTO}"}}}},
        "exporters": exporter,
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            "pipelines": {"traces": {"receivers": [next(iter(receiver or {"otlp": 0}))], "exporters": [kind]}},
        },
    }
    file = os.path.join(FOLDER, f"{name}.yaml")
    with open(file, "w") as into:
        json.dump(configuration, into)
    program = Program(name, COLLECTOR, "--config", file)
    if not receiver:
        wait_until(f"the Collector {name} listens", lambda: listens(INTO), program)
    return program


def listens(port):
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
        return True
    except OSError:
        return False


def send(requests):
    client = http.client.HTTPConnection("127.0.0.1", INTO, timeout=60)
    for request in requests:
        client.request("POST", "/v1/traces", json.dumps(request), {"content-type": "application/json"})
        answer = client.getresponse()
        body = answer.read()
        assert answer.status == 200, (answer.status, body)


def spans_of(requests):
    """Every span with its resource and scope, as text, whatever was left out because it says nothing."""
    found = []
    for request in requests:
        for resource in request["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    of = {"resource": resource.get("resource"), "scope": scope.get("scope"), "span": span}
                    found.append(json.dumps(telling(of), sort_keys=True))
    # What came twice, word for word, is kept once.
    return sorted(set(found))


def telling(of):
    """Without what is empty, zero or has no order."""
    if isinstance(of, dict):
        kept = {key: telling(item) for key, item in of.items()}
        return {key: item for key, item in kept.items() if item not in ({}, [], None) and not (
            item in ("", 0, "0") and key not in ("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue"))}
    if isinstance(of, list):
        return sorted((telling(item) for item in of), key=lambda item: json.dumps(item, sort_keys=True))
    return int(of) if isinstance(of, float) and of.is_integer() else of


def compare(traces, tls=False):
    """Every span that was sent with every span that the viewer exports."""
    got = []
    for trace in traces.ids.values():
        status, body = ask(f"/api/tracer/traces/{trace}/export?format=otlp-json", tls)
        assert status == 200, (trace, status, body)
        got += [json.loads(line) for line in body.split("\n") if line.strip()]
    sent, got = spans_of(traces.requests), spans_of(got)
    if sent != got:
        lost, new = [of for of in sent if of not in got], [of for of in got if of not in sent]
        sys.exit(f"{len(lost)} spans differ, such as\n  sent {lost[:1]}\n  got  {new[:1]}")


def rows(prefix, of):
    print(f"  {prefix:<48} {of}", flush=True)


def one_way(name, exporter, *more, tls=False):
    with view(f"view {name}", *more, tls=tls) as viewer, collector(f"collector {name}", exporter) as sender:
        traces = everything((int(time.time()) - 120) * SECOND)
        send(traces.requests)
        expected = len(spans_of(traces.requests))
        wait_until(f"{name}: every span is there", lambda: held(tls) == expected, viewer, sender)
        compare(traces, tls)
        rows(name, f"{expected} spans, equal")


def certificates():
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=FOLDER, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=viewer", "-keyout", "viewer.key",
            "-out", "viewer.csr")
    with open(os.path.join(FOLDER, "names"), "w") as names:
        names.write(f"subjectAltName=IP:{OUTSIDE},IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "viewer.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile",
            "names", "-out", "viewer.pem")
    with open(os.path.join(FOLDER, "token"), "w") as token:
        token.write(TOKEN)
    os.chmod(os.path.join(FOLDER, "token"), 0o600)


def over_tls():
    files = {name: os.path.join(FOLDER, name) for name in ("ca.pem", "other.pem", "viewer.pem", "viewer.key", "token")}
    more = ["--otlp-grpc", f"{OUTSIDE}:{GRPC}", "--otlp-http", f"{OUTSIDE}:{HTTP}", "--token-file", files["token"],
            "--tls-certificate", files["viewer.pem"], "--tls-key", files["viewer.key"]]

    def exporter(ca="ca.pem", token=TOKEN):
        return {"tls": {"ca_file": files[ca]}, "headers": {"authorization": f"Bearer {token}"},
                "retry_on_failure": {"initial_interval": "100ms"}}
    one_way("gRPC, TLS with a CA file, token",
            {"otlp": {"endpoint": f"{OUTSIDE}:{GRPC}"} | exporter()}, *more, tls=True)
    one_way("HTTP, TLS with a CA file, token",
            {"otlphttp": {"endpoint": f"https://{OUTSIDE}:{HTTP}"} | exporter()}, *more, tls=True)
    for name, wrong, word in (("another CA", exporter(ca="other.pem"), "certificate"),
                              ("another token", exporter(token="a-token-that-is-not-the-one-012345"), "nauthenticated")):
        with view(f"view {name}", *more, tls=True), \
                collector(f"collector {name}", {"otlp": {"endpoint": f"{OUTSIDE}:{GRPC}"} | wrong}) as sender:
            send(everything((int(time.time()) - 120) * SECOND).requests[:1])
            wait_until(f"{name} is told", lambda: word in sender.said(), sender)
            assert held(tls=True) == 0
            rows(f"gRPC, {name}", "refused, and the Collector says why")


def later():
    """Many large requests at the same time: the viewer takes some, tells the others to come again, and they do."""
    traces = Traces((int(time.time()) - 120) * SECOND)
    for n in range(MANY_REQUESTS):
        trace = traces.trace(f"many {n}")
        traces.send((f"many-{n % 7}", [
            traces.span(trace, k + 1, k or None, "step", 2, k, 1000, attributes={"url.path": f"/item/{n}/{k}", "n": k, "of": n})
            for k in range(SPANS_OF_REQUEST)]))
    together = {"sending_queue": {"num_consumers": AT_ONCE, "queue_size": MANY_REQUESTS, "block_on_overflow": True},
                "retry_on_failure": {"initial_interval": "50ms", "max_interval": "1s"}}
    for name, exporter in (("gRPC", {"otlp": {"endpoint": f"127.0.0.1:{GRPC}", "tls": {"insecure": True}} | together}),
                           ("HTTP", {"otlphttp": {"endpoint": f"http://127.0.0.1:{HTTP}"} | together})):
        log = f"{name}: the viewer says later"
        with collector(f"collector later {name}", exporter) as sender:
            # All of it waits in the Collector, which tries until there is a viewer.
            send(traces.requests)
            with view(f"view later {name}", "--memory", "2GiB") as viewer:
                expected = traces.spans_sent
                wait_until(f"{log}: every span is there", lambda: held() >= expected, viewer, sender)
                assert held() == expected, (held(), expected)
                deferred = counter("deferred")
                assert deferred > 0, "the viewer took all at once: nothing shows that the Collector comes again"
                rows(log, f"{expected} spans of {MANY_REQUESTS} requests, none twice; told to come again: {deferred}")


def counter(word):
    lines = [line for line in ask("/metrics")[1].splitlines() if word in line and not line.startswith("#")]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def files():
    """The files of a store, decompressed, in the Collector's reader of OTLP JSON, and by it into another viewer."""
    store = os.path.join(FOLDER, "store")
    traces = everything((int(time.time()) - 120) * SECOND)
    expected = len(spans_of(traces.requests))
    plain = {"otlp": {"endpoint": f"127.0.0.1:{GRPC}", "tls": {"insecure": True}}}
    with view("view store", "--store", store) as viewer, collector("collector store", plain) as sender:
        send(traces.requests)
        wait_until("every span is there", lambda: held() == expected, viewer, sender)
    lines = os.path.join(FOLDER, "store.jsonl")
    packed = sorted(os.path.join(store, name) for name in os.listdir(store) if name.endswith(".zst"))
    with open(lines, "w") as into:
        subprocess.run(["zstd", "--decompress", "--stdout", "--quiet", *packed], stdout=into, check=True)
    with view("view files") as viewer, \
            collector("collector files", plain, {"otlpjsonfile": {"path": lines}}) as sender:
        wait_until("every span of the files is there", lambda: held() == expected, viewer, sender)
        compare(traces)
    with view("view lines", lines):
        compare(traces)
    rows("files of a store, read by the Collector", f"{expected} spans of {len(packed)} files, equal")


def main():
    for command in (["ip", "link", "set", "lo", "up"], ["ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo"]):
        subprocess.run(command, check=True)
    certificates()
    plain = {"insecure": True}
    for packing in ("gzip", "zstd", "none"):
        one_way(f"gRPC, {packing}", {"otlp": {"endpoint": f"127.0.0.1:{GRPC}", "tls": plain, "compression": packing}})
    for encoding in ("proto", "json"):
        for packing in ("gzip", "zstd", "none"):
            one_way(f"HTTP, {encoding}, {packing}", {"otlphttp": {
                "endpoint": f"http://127.0.0.1:{HTTP}", "compression": packing, "encoding": encoding}})
    over_tls()
    later()
    files()
    subprocess.run(["rm", "-r", FOLDER], check=True)


if __name__ == "__main__":
    main()
