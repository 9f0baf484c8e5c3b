"""A small shop, as anyone would write it: no tracing in it."""

import hashlib
import os
import time

import requests
from flask import Flask, Response, abort, jsonify, request

app = Flask(__name__)
prices = requests.Session()
PRICES_URL = os.environ.get("PRICES_URL", "http://127.0.0.1:3000")


@app.get("/")
def index():
    return "welcome\n"


@app.get("/item/<name>")
def item(name):
    path = f"/price/{name}" if name.isdigit() else f"/missing/{name}"
    answer = prices.get(PRICES_URL + path, timeout=5)
    if answer.status_code != 200:
        abort(404)
    return jsonify(item=name, price=answer.json()["price"])


@app.get("/slow")
def slow():
    time.sleep(0.05)
    return "slow\n"


@app.get("/fail")
def fail():
    abort(500)


@app.route("/upload", methods=["POST", "PUT"])
def upload():
    body = request.get_data()
    return jsonify(length=len(body), sha256=hashlib.sha256(body).hexdigest())


@app.get("/stream")
def stream():
    return Response((f"part {n}\n" for n in range(5)), mimetype="text/plain")


@app.get("/blob/<int:size>")
def blob(size):
    return Response(b"x" * size, mimetype="application/octet-stream")


@app.get("/echo/<name>")
def echo(name):
    return name + "\n"
