// Pictures of pages, to look at: `node dev/shoot.mjs DIR ADDRESS [WIDTH×HEIGHT[,…]] [light|dark] NAME=HASH …`

import { chromium } from "playwright-core";

const [directory, address, sizes, scheme, ...pages] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
for (const size of sizes.split(",")) {
  const [width, height] = size.split("x").map(Number);
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  page.on("console", (message) => console.log(message.type(), message.text()));
  page.on("pageerror", (error) => console.log("error", error.message, error.stack));
  for (const entry of pages) {
    const at = entry.indexOf("=");
    const name = entry.slice(0, at);
    await page.goto("about:blank");
    await page.goto(`${address}${entry.slice(at + 1)}`);
    await page.waitForLoadState("load");
    await page.waitForTimeout(700);
    const file = `${directory}/${name}-${width}-${scheme}.png`;
    await page.screenshot({ path: file });
    console.log(file, await page.evaluate(() => document.documentElement.scrollWidth));
  }
  await context.close();
}
await browser.close();
