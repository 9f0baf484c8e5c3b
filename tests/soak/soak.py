"""Keeps `tracer view` under load: `python3 soak.py TRACER SPANS KILLS`.

First, spans come in over OTLP while searches run: the memory of the viewer must stay at its bound. Then a viewer with a store
on disk is killed under load and started again, time after time: what came a second before the kill must be there.
"""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))

from traffic import requests

TRACER, SPANS, KILLS = os.path.abspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
MIB = 1 << 20
BOUND_MIB = 32
# Memory beside the spans: the program itself, requests that are decoded, answers that are made.
BESIDE_MIB = 96
# How much the memory may still grow once the spans have reached their bound.
GROWTH = 1.15
SAMPLES = 20
SEARCHES = ("", "status:error", "service:service-3 duration>40ms", "url.full=http://10.0.0.7/*", "nowhere-at-all")
# What may be lost by a kill.
LOST_SECONDS = 1.0
LOAD_SECONDS = (1.1, 1.8)
# Rounds whose traces are looked for: what is older may have been let go.
ROUNDS_KNOWN = 3
START_SECONDS = 120


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class View:
    def __init__(self, *more):
        self.page, self.otlp = free_port(), free_port()
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [TRACER, "view", "--listen", f"127.0.0.1:{self.page}", "--otlp-http", f"127.0.0.1:{self.otlp}", "--otlp-grpc",
             f"127.0.0.1:{free_port()}", *more], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        begin = time.monotonic()
        while True:
            try:
                if self.get("/readyz")[0] == 200:
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() - begin > START_SECONDS:
                self.log.seek(0)
                sys.exit(f"the viewer does not answer:\n{self.log.read()}")
            time.sleep(0.02)
        self.began_in = time.monotonic() - begin

    def get(self, path):
        client = http.client.HTTPConnection("127.0.0.1", self.page, timeout=60)
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read()

    def store(self):
        return json.loads(self.get("/api/tracer/status")[1])["store"]

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB

    def end(self, by=signal.SIGTERM):
        self.process.send_signal(by)
        self.process.wait()
        self.log.close()


class Sender:
    """Sends one request after the other on one connection."""

    def __init__(self, view):
        self.client = http.client.HTTPConnection("127.0.0.1", view.otlp, timeout=60)

    def send(self, body):
        while True:
            self.client.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
            answer = self.client.getresponse()
            answer.read()
            if answer.status == 200:
                return
            assert answer.status == 503, answer.status
            time.sleep(float(answer.getheader("retry-after")))


def search(view, ended, took, wrong):
    """Searches until the load ends."""
    from urllib.parse import quote
    n = 0
    while not ended.is_set():
        begin = time.monotonic()
        status, body = view.get(f"/api/tracer/search?limit=20&q={quote(SEARCHES[n % len(SEARCHES)])}")
        took.append(time.monotonic() - begin)
        if status != 200:
            wrong.append((status, body))
        n += 1


def memory():
    view = View("--memory", f"{BOUND_MIB}MiB")
    ended, took, wrong = threading.Event(), [], []
    searches = threading.Thread(target=search, args=(view, ended, took, wrong))
    searches.start()
    print(f"{SPANS:,} spans into {BOUND_MIB} MiB, with searches beside\n")
    print(f"{'spans sent':>12} {'held':>10} {'let go':>10} {'spans MiB':>10} {'resident MiB':>13} {'searches':>9}")
    sender, sent, samples = Sender(view), 0, []
    for body, count, _ in requests(SPANS):
        sender.send(body)
        sent += count
        if sent >= SPANS * (len(samples) + 1) / SAMPLES:
            store = view.store()
            samples.append(view.resident_mib())
            print(f"{sent:>12,} {store['spans']:>10,} {store['evicted_spans']:>10,} {store['bytes'] / MIB:>10.1f} "
                  f"{samples[-1]:>13.1f} {len(took):>9,}", flush=True)
    ended.set()
    searches.join()
    store = view.store()
    view.end()
    took.sort()
    print(f"\nsearches beside: {len(took):,}, half within {took[len(took) // 2] * 1000:.0f} ms, 95 % within "
          f"{took[len(took) * 95 // 100] * 1000:.0f} ms\n")
    assert not wrong, wrong[:3]
    assert store["spans"] + store["evicted_spans"] == sent, (store, sent)
    assert store["bytes"] <= BOUND_MIB * MIB, store
    if store["evicted_spans"]:
        full = samples[len(samples) // 2:]
        assert max(full) <= full[0] * GROWTH and max(full) <= BOUND_MIB + BESIDE_MIB, samples


def kills():
    """Kills the viewer at any moment. Every trace that was answered for more than a second before must be there again."""
    random.seed(16)
    checked = 0
    with tempfile.TemporaryDirectory(prefix="tracer-soak-") as folder:
        known = []
        for kill in range(KILLS + 1):
            view = View("--store", folder, "--memory", f"{BOUND_MIB}MiB")
            status = view.store()
            for trace in (trace for ids in known for trace in ids):
                assert view.get(f"/api/tracer/traces/{trace}")[0] == 200, f"after kill {kill} trace {trace} is lost"
                checked += 1
            if kill % 10 == 0:
                print(f"{kill:>4} kills: {status['spans']:>10,} spans there, open in {view.began_in:.2f} s", flush=True)
            if kill == KILLS:
                view.end()
                break
            recent, sender = [], Sender(view)
            end = time.monotonic() + random.uniform(*LOAD_SECONDS)
            for body, _, ids in requests(10**9):
                sender.send(body)
                recent.append((time.monotonic(), ids))
                if time.monotonic() > end:
                    break
            killed = time.monotonic()
            view.end(signal.SIGKILL)
            # The last that must be there, and the first, of each of these rounds.
            safe = [ids for at, ids in recent if at < killed - LOST_SECONDS]
            known = known[-(ROUNDS_KNOWN - 1):] + [[trace for ids in safe[-3:] + safe[:1] for trace in (ids[0], ids[-1])]]
    print(f"\n{KILLS} kills under load: {checked:,} looks at traces taken a second or more before a kill, all there")


memory()
kills()
