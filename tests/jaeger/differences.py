"""How the answers of `tracer view` differ from Jaeger's, and are meant to. Each row takes its difference out of a pair of
answers, and nothing else; what is left must be equal."""

import json
from urllib.parse import parse_qs, unquote, urlsplit


class Row:
    """A difference: what it is, why, and a function of the path and both answers that takes it out."""

    def __init__(self, what, why, take_out):
        self.what, self.why, self.take_out = what, why, take_out


def explain(path, ours, theirs, traces):
    """Takes out what the rows know. Returns those that had something to do."""
    used = []
    for row in ROWS:
        before = ours.told(), theirs.told()
        row.take_out(path, ours, theirs, traces)
        if (ours.told(), theirs.told()) != before:
            used.append(row)
    return used


def name_processes(answer):
    """Puts each process in place of the name that the server gave it."""
    if not answer.is_json or not isinstance(answer.body, dict) or not isinstance(answer.body.get("data"), list):
        return
    for trace in answer.body["data"]:
        if isinstance(trace, dict) and "processes" in trace:
            processes = trace["processes"]
            for span in trace["spans"] or []:
                span["processID"] = processes[span["processID"]]
            trace["processes"] = list(processes.values())


def each(of, change):
    """Gives every object of a body to a function, which may change it."""
    if isinstance(of, dict):
        change(of)
    for item in of.values() if isinstance(of, dict) else of if isinstance(of, list) else ():
        each(item, change)


def parameters(path):
    return {name: values[-1] for name, values in parse_qs(urlsplit(path).query, keep_blank_values=True).items()}


def null_bytes(path, ours, theirs, traces):
    def change(of):
        if of.get("type") == "binary" and of.get("value", "") is None:
            of["value"] = ""
    each(theirs.body, change)


def type_of_v3(path, ours, theirs, traces):
    if path.startswith("/api/v3") and (ours.kind, theirs.kind) == ("application/json", PLAIN):
        theirs.kind = ours.kind


def defaults(path, ours, theirs, traces):
    def change(of):
        for kind in ("arrayValue", "kvlistValue"):
            if of.get(kind) == {"values": []}:
                of[kind] = {}
        if of.get("key") == "" and "value" in of:
            del of["key"]
    if path.startswith("/api/v3"):
        each(ours.body, change)


def grouping(path, ours, theirs, traces):
    """Makes of both a list of spans, each with its resource and its scope."""
    for answer in (ours, theirs):
        if answer.is_json and path.startswith("/api/v3/traces") and "result" in answer.body:
            answer.body = [
                {"resource": resource["resource"], "scope": scope.get("scope", {}), "span": span}
                for resource in answer.body["result"]["resourceSpans"]
                for scope in resource["scopeSpans"] for span in scope["spans"]
            ]


def corrected(path, ours, theirs, traces):
    """Takes Jaeger's notes off, and puts the id back that both ends of a call had."""
    if not path.startswith("/api/v3/traces") or not isinstance(theirs.body, list):
        return

    def without_notes(of):
        if of.get("attributes"):
            of["attributes"] = [item for item in of["attributes"] if item.get("key") != "@jaeger@warnings"]
            if not of["attributes"]:
                del of["attributes"]
    each(theirs.body, without_notes)
    for item in theirs.body:
        span = item["span"]
        if span.get("name") == "call" and (span["kind"], span["spanId"][-1], span["parentSpanId"][-1]) == (2, "3", "2"):
            span.update(spanId=f"{2:016x}", parentSpanId=f"{1:016x}")
        if span.get("name") in ENDS_AT_ITS_START and span["endTimeUnixNano"] == str(int(span["startTimeUnixNano"]) + 1):
            span["endTimeUnixNano"] = span["startTimeUnixNano"]


def kept_once(path, ours, theirs, traces):
    """The span that was sent twice, with all that it says equal."""
    of_v3 = [theirs.body] if isinstance(theirs.body, list) else []
    for spans in of_v3 + [trace["spans"] for trace in data(theirs)]:
        twice = [it for it in spans if "sent twice" in text(it)]
        if len(twice) == 2 and twice[0] == twice[1]:
            spans.remove(twice[1])


def data(answer):
    """The traces of an answer of /api/traces."""
    is_of_traces = answer.is_json and isinstance(answer.body, dict)
    return [it for it in is_of_traces and answer.body.get("data") or [] if isinstance(it, dict) and "spans" in it]


def notes_kept(path, ours, theirs, traces):
    def change(of):
        if len(of.get("warnings") or []) > 1:
            of["warnings"] = sorted(set(of["warnings"]))
    each(theirs.body, change)


def found_by_meaning(path, ours, theirs, traces):
    """By tags that Jaeger's store does not look up, or answers with other spans: the traces here are named one by one."""
    asked = parameters(path)
    of = MEANT.get((asked.get("service"), asked.get("tag")))
    if of is None or (ours.status, theirs.status) != (200, 200):
        return
    expected = {traces.ids[name] for name in of(traces)}
    found = {trace["spans"][0]["traceID"].rjust(32, "0") for trace in ours.body["data"]}
    if found == expected:
        theirs.body = ours.body


def calls(traces):
    return [name for name in traces.ids if name.split()[0] in CALLS]


def no_limit(path, ours, theirs, traces):
    said = "search depth must be greater than 0 and less than max traces"
    if (ours.status, theirs.status) == (400, 500) and said in text(theirs.body):
        theirs.status = 400
        each(theirs.body, lambda of: of.update({key: 400 for key in ("code", "httpCode") if of.get(key) == 500}))


def words(path, ours, theirs, traces):
    """Cuts what Go's standard library says about JSON or a moment, and what ours says."""
    def change(of):
        for key in ("msg", "message"):
            for begin in ("malformed 'tags' parameter, cannot unmarshal JSON: ", "parsing time "):
                head, found, _ = str(of.get(key, "")).partition(begin)
                if found:
                    of[key] = head + begin
    if ours.status == theirs.status == 400:
        each(ours.body, change), each(theirs.body, change)


def encoded_ids(path, ours, theirs, traces):
    def change(of):
        for key in ("msg", "message"):
            if "strconv.ParseUint: parsing" in str(of.get(key)):
                of[key] = unquote(of[key])
    if "%" in urlsplit(path).path and ours.status == theirs.status == 400:
        each(theirs.body, change)


def reversed_window(path, ours, theirs, traces):
    asked = parameters(path)
    start, end = asked.get("query.start_time_min", ""), asked.get("query.start_time_max", "")
    if (ours.status, theirs.status) == (400, 404) and start > end:
        ours.status, ours.body = theirs.status, theirs.body


def unknown_paths(path, ours, theirs, traces):
    if (ours.status, ours.kind, theirs.status, theirs.kind) == (404, JSON, 200, "text/html;charset=utf-8"):
        ours.status, ours.kind, ours.body = theirs.status, theirs.kind, theirs.body


def no_calls(path, ours, theirs, traces):
    def is_call(link):
        return link["parent"] != link["child"] and link["child"] not in INTERNAL
    if path.startswith("/api/dependencies") and theirs.is_json and theirs.body["data"]:
        theirs.body["data"] = list(filter(is_call, theirs.body["data"]))


def nameless(path, ours, theirs, traces):
    """Jaeger gives a resource without a name one when it takes it."""
    def change(of):
        for key, item in of.items():
            if item == MISSING:
                of[key] = UNKNOWN
            if isinstance(item, list) and MISSING in item:
                of[key] = [UNKNOWN if it == MISSING else it for it in item]
        if MISSING in str(of.get("attributes")):
            of["attributes"] = [it for it in of["attributes"] if it["key"] != "service.name"]
    each(theirs.body, change)


def no_number(path, ours, theirs, traces):
    if path.startswith("/api/v3/traces?") and "query.num_traces" not in parameters(path):
        if (ours.status, theirs.status) == (200, 500):
            theirs.status, theirs.kind, theirs.body = ours.status, ours.kind, ours.body


def pairs(path, ours, theirs, traces):
    if "=" in parameters(path).get("tags", "") and (ours.status, theirs.status) == (200, 400):
        theirs.status, theirs.kind, theirs.body = ours.status, ours.kind, ours.body


def text(of):
    return json.dumps(of, sort_keys=True)


MISSING, UNKNOWN = "missing-service-name", "unknown_service"
JSON, PLAIN = "application/json", "text/plain;charset=utf-8"
ENDS_AT_ITS_START = ("no time",)
# Services that have internal spans only.
INTERNAL = ("Shop",)
CALLS = ("plain", "short", "error", "ok", "told", "early", "late", "slow")
# What each search finds here: names of traces.
MEANT = {
    ("types", "tiny:1e-07"): lambda traces: ["types"],
    ("types", 'list:["a",1,true,0.5,null]'): lambda traces: [],
    ("types", "bytes:AAH/"): lambda traces: [],
    ("types", 'map:{"a":1,"b":["c",{"d":false}]}'): lambda traces: [],
    ("types", "exception.type:E"): lambda traces: [],
    ("scopes", "scope.of:it"): lambda traces: [],
    ("cart", "error:true"): lambda traces: ["error"],
    ("cart", "error:x"): lambda traces: [],
    ("cart", "otel.status_code:ERROR"): lambda traces: ["error"],
    ("cart", "otel.status_code:OK"): lambda traces: ["ok"],
    ("shop", "span.kind:server"): calls,
    ("shop", "span.kind:client"): calls,
    ("cart", "span.kind:server"): calls,
    ("cart", "span.kind:client"): calls,
}
ROWS = [
    Row("bytes that are none are \"\" here, null there", "the value has a type, and null is not of it", null_bytes),
    Row("/api/v3 says that it answers JSON; Jaeger says plain text", "it is JSON", type_of_v3),
    Row("/api/v3: a key or a list that is empty is written here, left out there", "both are OTLP's JSON", defaults),
    Row("/api/v3: spans of one resource and scope stand together here", "both are OTLP, and this is shorter", grouping),
    Row("/api/v3 gives spans as they came here, corrected and with notes in attributes there unless raw_traces is set",
        "what an SDK said is not changed; /api/traces has the notes", corrected),
    Row("a span that came twice is kept once here, and given twice there when raw ones are asked for",
        "a sender that had no answer sends again", kept_once),
    Row("notes on a span's clock are there once here, once for each time that the trace was asked for there",
        "Jaeger's store in memory keeps what an answer adds", notes_kept),
    Row("tags: error, span.kind and otel.status_code are looked up in the span's fields; numbers are compared as numbers; lists "
        "are found by a member; scopes and events are not searched", "docs/viewer.md, Search", found_by_meaning),
    Row("a limit that is not between 1 and 10,000 is 400 here, 500 there", "the question is wrong, not the server", no_limit),
    Row("a service without a name is `unknown_service` here, `missing-service-name` there", "OpenTelemetry's word for it", nameless),
    Row("/api/v3/traces without a number of traces answers here, and is 500 there", "newer versions of Jaeger answer", no_number),
    Row("`tags` may be `key=value` pairs here, which are 400 there", "people write them so", pairs),
    Row("what is wrong with JSON or a moment is said in other words", "the words are those of the library that reads it", words),
    Row("an id that is wrong is told decoded here, as it stood in the path there", "a person reads it", encoded_ids),
    Row("/api/v3/traces with an end before its start is 400 here, 404 there", "the question is wrong", reversed_window),
    Row("what the API has not is 404 here, Jaeger's page there", "a page is no answer to a program", unknown_paths),
    Row("dependencies are calls between services here; Jaeger counts every span that has a parent",
        "a service does not depend on itself, and an internal span is no call", no_calls),
]
