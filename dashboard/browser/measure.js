// How quickly pages come and answer, on a running demo: nothing is judged, it prints a table.
//
//   npm run measure                        EBBTIDE_GATEWAY=http://... for a running one
//   npm run measure -- before/ after/      builds to compare, in turn, in place of the one served
//
// First paint is of a cold load (no cache). An interaction is from the key or click to the next
// frame that shows it, as browsers report it (Event Timing). Work is the processor time that the
// page's thread spends on a press and what follows from it, which other programs do not change.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { launch, PAGES, SIZES } from "./stage.js";
import { running } from "./stack.js";

const SETTLED_MS = 30_000;
const ROUNDS = 3;
const SLOW_MS = 100;

/** What people press on a page: everything that chooses what is shown, each in turn. */
const CHOICES =
  "button[aria-pressed], main nav:is(.tabs, .orders) a, main [role=switch], main summary";
const MOST = 12;

const [served, ...others] = process.argv.slice(2);
const builds = [served, ...others];

await running(async (gateway) => {
  if (process.env.EBBTIDE_GATEWAY === undefined) await sleep(SETTLED_MS);
  const browser = await launch();
  console.log(
    `| page | first paint, ms | interactions: median, slowest, ms | over ${SLOW_MS} ms | work: median, most, ms |`,
  );
  console.log("| --- | --- | --- | --- | --- |");
  try {
    for (const [name, show] of Object.entries(PAGES)) {
      const found = builds.map(() => ({ paints: [], waits: [], works: [] }));
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const [i, build] of builds.entries()) {
          const { paint, waits, works } = await visit(browser, gateway, show, build);
          found[i].paints.push(paint);
          found[i].waits.push(...waits);
          found[i].works.push(...works);
        }
      }
      for (const [i, { paints, waits, works }] of found.entries()) {
        const what = builds[i] === undefined ? name : `${name}, ${builds[i]}`;
        const told = waits.length === 0 ? "under 16" : `${median(waits)}, ${Math.max(...waits)}`;
        const slow = waits.filter((wait) => wait > SLOW_MS).length;
        console.log(
          `| ${what} | ${Math.round(median(paints))} | ${told} | ${slow} of ${works.length} | ` +
            `${Math.round(median(works))}, ${Math.round(Math.max(...works))} |`,
        );
      }
    }
  } finally {
    await browser.close();
  }
});

/** Until the first paint, from each press to what shows it, and the page's work on each; in ms. */
async function visit(browser, gateway, show, build) {
  const context = await browser.newContext({ viewport: SIZES.wide });
  const page = await context.newPage();
  if (build !== undefined) await page.route("**/app/**", (route) => fulfil(route, build));
  await page.addInitScript(() => {
    window.waits = new Map();
    new PerformanceObserver((list) => {
      for (const { interactionId: id, duration } of list.getEntries()) {
        // One press is several events: the longest of them counts.
        if (id > 0) window.waits.set(id, Math.max(duration, window.waits.get(id) ?? 0));
      }
    }).observe({ type: "event", durationThreshold: 16, buffered: true });
  });
  await show(page, gateway);
  const paint = await page.evaluate(
    () => performance.getEntriesByName("first-contentful-paint")[0].startTime,
  );
  const devtools = await context.newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const worked = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "TaskDuration").value * 1000;
  };
  const works = [];
  const count = Math.min(await page.locator(CHOICES).count(), MOST);
  for (let i = 0; i < count; i += 1) {
    const choice = page.locator(CHOICES).nth(i);
    if (!(await choice.isVisible())) continue;
    // What is chosen already changes nothing, so no frame shows it: it would count to the next press.
    if (await choice.evaluate((it) => it.matches("[aria-pressed=true], [aria-current=page]"))) {
      continue;
    }
    const before = await worked();
    await choice.click({ timeout: 2_000 }).catch(() => {});
    await page.waitForTimeout(250);
    works.push((await worked()) - before);
  }
  const waits = await page.evaluate(() => [...window.waits.values()]);
  await context.close();
  return { paint, waits, works };
}

/** The page's files as they lie in a folder, under the gateway's policy. */
async function fulfil(route, build) {
  const path = new URL(route.request().url()).pathname.slice("/app/".length);
  const file = join(build, /\.\w+$/.test(path) ? path : "index.html");
  const response = await route.fetch({ url: new URL("/app/", route.request().url()).href });
  const type = { js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
  const headers = {
    "content-security-policy": response.headers()["content-security-policy"] ?? "",
    "content-type": type[file.split(".").at(-1)] ?? "text/html",
  };
  await route.fulfill({ headers, body: await readFile(file) });
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
