// How quickly pages come and answer, on a running demo: nothing is judged, it prints a table.
//
//   npm run measure        EBBTIDE_GATEWAY=http://... for a running one
//
// First paint is of a cold load (no cache). An interaction is from the key or click to the next
// frame that shows it, as browsers report it (Event Timing).
import { launch, PAGES, SIZES } from "./stage.js";
import { running } from "./stack.js";

const SETTLED_MS = 30_000;
const ROUNDS = 3;

/** What people press on a page: everything that chooses what is shown, each in turn. */
const CHOICES = "button[aria-pressed], main [role=tab], main summary";

await running(async (gateway) => {
  if (process.env.EBBTIDE_GATEWAY === undefined) await sleep(SETTLED_MS);
  const browser = await launch();
  console.log("| page | first paint, ms | interactions: median, slowest, ms | how many |");
  console.log("| --- | --- | --- | --- |");
  try {
    for (const [name, show] of Object.entries(PAGES)) {
      const paints = [];
      const waits = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        const context = await browser.newContext({ viewport: SIZES.wide });
        const page = await context.newPage();
        await page.addInitScript(() => {
          window.waits = [];
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) {
              if (entry.interactionId > 0) window.waits.push(entry.duration);
            }
          }).observe({ type: "event", durationThreshold: 16, buffered: true });
        });
        await show(page, gateway);
        paints.push(
          await page.evaluate(
            () => performance.getEntriesByName("first-contentful-paint")[0].startTime,
          ),
        );
        const count = Math.min(await page.locator(CHOICES).count(), 8);
        for (let i = 0; i < count; i += 1) {
          const choice = page.locator(CHOICES).nth(i);
          if (await choice.isVisible()) await choice.click({ timeout: 2_000 }).catch(() => {});
          await page.waitForTimeout(250);
        }
        waits.push(...(await page.evaluate(() => window.waits)));
        await context.close();
      }
      const told = waits.length === 0 ? "under 16" : `${median(waits)}, ${Math.max(...waits)}`;
      console.log(`| ${name} | ${Math.round(median(paints))} | ${told} | ${waits.length} |`);
    }
  } finally {
    await browser.close();
  }
});

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
