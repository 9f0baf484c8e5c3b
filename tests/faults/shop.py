"""The shop: threads of gunicorn answer each request by calls to the catalogue and the stock.

What a fault changes stands in the file that CONTROL names, which is read again when it changes.
"""

import http.client
import itertools
import json
import os
import threading
import time
from urllib.parse import urlsplit

from flask import Flask, Response

app = Flask(__name__)
CATALOG = [urlsplit(url).netloc for url in os.environ["CATALOG_URLS"].split(",")]
STOCK = urlsplit(os.environ["STOCK_URL"]).netloc
CONTROL = os.environ["CONTROL"]
ITEMS_OF_A_LIST = 10
SETTINGS = {
    # Attempts for each call, and seconds that each may take.
    "attempts": 1,
    "timeout_s": 10.0,
    # The share of the calls to the catalogue that its second instance gets.
    "share_of_second": 0.0,
    # A list asks for each of its items, not for all at once.
    "each_item": False,
}
kept = threading.local()
turns = itertools.count()


def follow_settings():
    seen = None
    while True:
        try:
            with open(CONTROL, encoding="utf-8") as file:
                text = file.read()
            if text != seen:
                SETTINGS.update(json.loads(text))
                seen = text
        except FileNotFoundError:
            pass
        time.sleep(0.05)


threading.Thread(target=follow_settings, daemon=True).start()


def ask(host, path):
    """Status and body of the first attempt that succeeds, else of the last."""
    status, body = 504, b""
    for _ in range(SETTINGS["attempts"]):
        status, body = attempt(host, path)
        if status < 500:
            break
    return status, body


def attempt(host, path):
    connections = kept.__dict__.setdefault("connections", {})
    for fresh in (False, True):
        connection = connections.pop(host, None)
        if connection is None:
            connection, fresh = http.client.HTTPConnection(host), True
        connection.timeout = SETTINGS["timeout_s"]
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except TimeoutError:
            connection.close()
            return 504, b""
        except (OSError, http.client.HTTPException):
            connection.close()
            # A connection that was kept may have been closed by its server meanwhile.
            if fresh:
                return 502, b""
            continue
        connections[host] = connection
        return answer.status, body
    return 502, b""


def catalog(path):
    turn = next(turns) % 100
    second = len(CATALOG) > 1 and turn < 100 * SETTINGS["share_of_second"]
    return ask(CATALOG[1 if second else 0], path)


def answer_of(*answers):
    """The answer that these make: all of them, or the first that failed."""
    for status, _ in answers:
        if status >= 400:
            return Response("unavailable\n", status=502 if status >= 500 else status)
    return Response(b"".join(body for _, body in answers), mimetype="application/json")


@app.get("/item/<int:number>")
def item(number):
    return answer_of(catalog(f"/item/{number}"), ask(STOCK, f"/level/{number}"))


@app.get("/list/<int:number>")
def several(number):
    if SETTINGS["each_item"]:
        return answer_of(*(catalog(f"/item/{number + n}") for n in range(ITEMS_OF_A_LIST)))
    return answer_of(catalog(f"/list/{number}"))


@app.get("/<word>/<int:number>")
def other(word, number):
    return answer_of(catalog(f"/{word}/{number}"))
