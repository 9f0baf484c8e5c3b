import { expect, test } from "vitest";
import type { TraceAnswer } from "../api/types";
import { commonPart, diff } from "./diff";

function trace(
  spans: [name: string, parent: number | null, duration: number, error?: boolean, kind?: string][],
): TraceAnswer {
  return {
    services: [{ name: "cart", attributes: [], scope: "" }],
    spans: spans.map(([name, parent, duration_ns, is_error = false, kind = "server"]) => ({
      name,
      parent,
      service: 0,
      kind,
      start_ns: 0,
      duration_ns,
      self_ns: 0,
      is_error,
    })),
  } as unknown as TraceAnswer;
}

test("repeated calls below the same parents are one row with their number and sum", () => {
  const a = trace([
    ["root", null, 100],
    ["query", 0, 10],
  ]);
  const b = trace([
    ["root", null, 300],
    ["query", 0, 10],
    ["query", 0, 20],
    ["query", 0, 30, true],
  ]);
  const rows = diff(a, b);
  expect(rows.map((row) => [row.name, row.depth, row.a?.spans, row.b?.spans, row.delta_ns, row.b?.errors])).toEqual([
    ["root", 0, 1, 1, 200, 0],
    ["query", 1, 1, 3, 50, 1],
  ]);
});

test("what is in one trace only has one side", () => {
  const rows = diff(
    trace([
      ["root", null, 100],
      ["old", 0, 10, false, "client"],
      ["below", 1, 5],
    ]),
    trace([
      ["root", null, 90],
      ["new", 0, 7],
    ]),
  );
  expect(rows.map((row) => [row.name, row.depth, row.a === null, row.b === null, row.delta_ns])).toEqual([
    ["root", 0, false, false, -10],
    ["old", 1, false, true, -10],
    ["below", 2, false, true, -5],
    ["new", 1, true, false, 7],
  ]);
});

test("a name that changed is one row, and what is below it is compared", () => {
  const rows = diff(
    trace([
      ["GET /a", null, 100],
      ["query", 0, 10],
    ]),
    trace([
      ["GET /b", null, 90],
      ["query", 0, 10],
    ]),
  );
  expect(rows.map((row) => [row.name, row.delta_ns])).toEqual([
    ["GET /a → GET /b", -10],
    ["query", 0],
  ]);
});

test("what two traces have in common are the spans of one name at one place", () => {
  const one = trace([
    ["root", null, 100],
    ["query", 0, 10],
    ["old", 0, 10, false, "client"],
  ]);
  const other = trace([
    ["root", null, 100],
    ["query", 0, 10],
  ]);
  expect(commonPart(diff(one, one))).toBe(1);
  expect(commonPart(diff(one, other))).toBe(0.8);
  expect(commonPart(diff(trace([["GET /a", null, 1]]), trace([["POST /b", null, 100]])))).toBe(0);
  expect(commonPart([])).toBe(1);
});
