// Takes pictures of the viewer for the README: screenshots.mjs PAGE TRACE FOLDER.
import { join } from "node:path";
import { chromium } from "playwright-core";

const [page, trace, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({
  viewport: { width: 1280, height: 720 },
  colorScheme: "light",
  reducedMotion: "reduce",
});
const tab = await context.newPage();
for (const [name, address] of [
  ["traces", page],
  ["trace", trace],
  ["map", `${page}#/map`],
  ["services", `${page}#/services`],
]) {
  await tab.goto(address);
  await tab.reload();
  await tab.waitForLoadState("networkidle");
  await tab.waitForTimeout(500);
  await tab.screenshot({ path: join(folder, `${name}.png`) });
}
await browser.close();
