import { mount } from "svelte";
import type { TraceAnswer } from "./api/types";
import Offline from "./shell/Offline.svelte";
import "./style/base.css";

const target = document.getElementById("app");
const text = document.getElementById("trace")?.textContent ?? "";
if (target !== null) mount(Offline, { target, props: { trace: read(text) } });

/** The trace that this file holds; null if there is none. */
function read(json: string): TraceAnswer | null {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" ? (value as TraceAnswer) : null;
  } catch {
    return null;
  }
}
