// Frames of a large trace while it scrolls, jumps, zooms and closes: `node dev/frames.mjs [SPANS] [--busy CORES] [--profile FILE]`.
// `--busy` keeps so many cores busy meanwhile, `--profile` writes a profile of the processor for Chromium's developer tools.

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { makeTrace } from "./generate.mjs";
import { start } from "./server.mjs";

const option = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1];
};
const spans = Number(/^\d+$/.test(process.argv[2] ?? "") ? process.argv[2] : 5000);
const FRAMES = 300;

const busy = Array.from({ length: Number(option("busy", 0)) }, () =>
  spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" }),
);
const mock = await start({ traces: 1 });
const id = mock.world.add(makeTrace({ seed: 9003, wanted: spans, services: 25 }));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const page = await browser.newPage({ viewport: { width: 1600, height: 1000 }, reducedMotion: "reduce" });
const session = await page.context().newCDPSession(page);
await session.send("Performance.enable", { timeDomain: "threadTicks" });
const opened = Date.now();
await page.goto(`${mock.address}#/trace/${id}`);
await page.getByRole("treegrid").waitFor();
console.log(`${spans} spans, open after ${Date.now() - opened} ms`);
await page.waitForTimeout(800);
if (option("profile")) {
  await session.send("Profiler.enable");
  await session.send("Profiler.start");
}
/** Processor time of the page's thread until now, milliseconds: all, and parts of it. */
const worked = async () => {
  const { metrics } = await session.send("Performance.getMetrics");
  return ["TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration"].map(
    (name) => (metrics.find((metric) => metric.name === name)?.value ?? 0) * 1000,
  );
};

for (const step of ["scroll", "jump", "wheel", "drag", "close", "keys"]) {
  const before = await worked();
  const times = await page.evaluate(
    async ([step, frames]) => {
      const grid = document.querySelector("[role=treegrid]");
      const rows = Number(grid.getAttribute("aria-rowcount"));
      const box = document.querySelector(".minimap .box");
      const map = box.getBoundingClientRect();
      const rect = grid.getBoundingClientRect();
      const pointer = (type, x) =>
        box.dispatchEvent(
          new PointerEvent(type, { clientX: x, clientY: map.top + 20, button: 0, bubbles: true, pointerId: 1 }),
        );
      box.setPointerCapture = () => undefined;
      const key = (name) =>
        grid.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
      const times = [];
      if (step === "drag") pointer("pointerdown", map.left + map.width * 0.3);
      if (step === "close") {
        grid.focus();
        key("Home");
      }
      let before = await new Promise(requestAnimationFrame);
      for (let frame = 0; frame < frames; frame++) {
        if (step === "scroll") grid.scrollTop = frame * 300;
        else if (step === "jump") grid.scrollTop = ((frame * 7919) % (rows - 100)) * 26;
        else if (step === "wheel")
          grid.dispatchEvent(
            new WheelEvent("wheel", {
              deltaY: frame < frames / 2 ? -100 : 100,
              ctrlKey: true,
              clientX: rect.right - 300,
              clientY: rect.top + 200,
              bubbles: true,
              cancelable: true,
            }),
          );
        else if (step === "drag") {
          // First a window is made, then it is moved.
          if (frame === 60) {
            pointer("pointerup", map.left + map.width * 0.5);
            pointer("pointerdown", map.left + map.width * 0.4);
          }
          pointer(
            "pointermove",
            map.left + map.width * (frame < 60 ? 0.3 + frame / 300 : 0.4 + 0.3 * Math.sin(frame / 20)),
          );
        } else if (step === "keys") key("ArrowDown");
        else if (frame % 10 === 0) key(frame % 20 === 0 ? "ArrowLeft" : "ArrowRight");
        const now = await new Promise(requestAnimationFrame);
        times.push(now - before);
        before = now;
      }
      if (step === "drag") {
        pointer("pointerup", map.left);
        key("0");
      }
      return times;
    },
    [step, FRAMES],
  );
  const [work, script, layout, style] = (await worked()).map((now, at) => ((now - before[at]) / FRAMES).toFixed(2));
  times.sort((a, b) => a - b);
  const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))].toFixed(1);
  console.log(
    `${step.padEnd(7)} p50 ${at(0.5)}  p95 ${at(0.95)}  p99 ${at(0.99)}  longest ${at(1)} ms; over 50 ms: ${times.filter((time) => time > 50).length} of ${FRAMES}; work ${work} ms a frame (script ${script}, layout ${layout}, style ${style})`,
  );
}
if (option("profile")) {
  const { profile } = await session.send("Profiler.stop");
  writeFileSync(option("profile"), JSON.stringify(profile));
}
await browser.close();
await mock.stop();
for (const child of busy) child.kill();
