"""Sends the same traces to Jaeger and to `tracer view`, asks both the same, and compares the answers but for order.

    python3 compare.py JAEGER_OTLP JAEGER_HTTP TRACER_OTLP TRACER_HTTP

The arguments are ports on loopback. A difference that `differences.py` does not explain fails, and so does a row there that no
answer needs any more.
"""

import http.client
import json
import os
import sys
import time

import differences
from questions import questions
from spans import everything

WAIT_SECONDS = 30


class Answer:
    """Status, type and body of an answer. A body that is JSON is parsed, and its lists are in one order."""

    def __init__(self, status, kind, body):
        self.status, self.kind = status, kind
        try:
            self.body, self.is_json = json.loads(body, parse_float=number), True
        except ValueError:
            self.body, self.is_json = body, False

    def told(self):
        return self.status, self.kind, in_order(self.body)


def number(digits):
    """3.0 and 3 are the same number, and are written the same."""
    of = float(digits)
    return int(of) if of.is_integer() else of


def ask(port, path):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.request("GET", path)
    answer = client.getresponse()
    kind = (answer.getheader("content-type") or "").replace(" ", "")
    body = answer.read().decode()
    client.close()
    return Answer(answer.status, kind, body)


def in_order(of):
    """The same value with every list sorted: order is not compared."""
    if isinstance(of, dict):
        return {key: in_order(item) for key, item in of.items()}
    if isinstance(of, list):
        return sorted((in_order(item) for item in of), key=text)
    return of


def text(of):
    return json.dumps(of, sort_keys=True, ensure_ascii=False)


def send(port, requests):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for request in requests:
        client.request("POST", "/v1/traces", json.dumps(request), {"content-type": "application/json"})
        answer = client.getresponse()
        body = answer.read()
        assert answer.status == 200, (answer.status, body)


def wait_for(port, traces):
    """Until the trace that was sent last is there."""
    end = time.monotonic() + WAIT_SECONDS
    last = traces.requests[-1]["resourceSpans"][0]["scopeSpans"][0]["spans"][-1]["traceId"]
    while ask(port, f"/api/traces/{last}").status != 200:
        if time.monotonic() > end:
            sys.exit(f"port {port} does not answer the trace {last} that it was sent")
        time.sleep(0.05)


def first_part(ours, theirs):
    """Where two texts part, with what stands around it."""
    at = next((n for n, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    return [of[max(0, at - 120):at + 200] for of in (ours, theirs)]


def main():
    jaeger_otlp, jaeger, tracer_otlp, tracer = map(int, sys.argv[1:5])
    # Whole seconds, as long ago as the longest of the traces needs to have ended.
    traces = everything((int(time.time()) - 120) * 10**9)
    for otlp, query in ((jaeger_otlp, jaeger), (tracer_otlp, tracer)):
        send(otlp, traces.requests)
        wait_for(query, traces)
    asked = questions(traces)
    equal, explained, wrong = 0, {}, []
    for path in asked:
        theirs, ours = ask(jaeger, path), ask(tracer, path)
        differences.name_processes(ours), differences.name_processes(theirs)
        if ours.told() == theirs.told():
            equal += 1
            continue
        rows = differences.explain(path, ours, theirs, traces)
        for row in rows:
            explained.setdefault(row, []).append(path)
        if ours.told() != theirs.told():
            wrong.append((path, ours, theirs, rows))
    print(f"{len(asked)} requests: {equal} equal answers, {len(asked) - equal - len(wrong)} that differ as meant, "
          f"{len(wrong)} that differ otherwise\n")
    for row in differences.ROWS:
        print(f"  {len(explained.get(row, [])):4}  {row.what}\n        {row.why}")
        for path in explained.get(row, [])[:2] if os.environ.get("VERBOSE") else []:
            print(f"          {path}")
    for path, ours, theirs, rows in wrong:
        print(f"\nDIFFERENT {path}")
        for row in rows:
            print(f"  besides: {row.what}")
        for name, of in (("tracer", ours), ("Jaeger", theirs)):
            print(f"  {name}: {of.status} {of.kind} {len(str(of.body))}")
        for name, part in zip(("tracer", "Jaeger"), first_part(*(text(of.told()[2]) for of in (ours, theirs)))):
            print(f"  {name}: …{part}…")
    unused = [row.what for row in differences.ROWS if row not in explained]
    if unused:
        print("\nNo answer differs any more in: " + "; ".join(unused))
    sys.exit(1 if wrong or unused else 0)


if __name__ == "__main__":
    main()
