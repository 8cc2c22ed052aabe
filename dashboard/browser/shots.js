// Screenshots of every page at both sizes in both themes: node browser/shots.js http://127.0.0.1:8000 folder
import { mkdir } from "node:fs/promises";
import { launch, PAGES, SIZES, THEMES } from "./stage.js";

const [gateway = "http://127.0.0.1:8000", folder = "shots"] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const browser = await launch();
try {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const theme of THEMES) {
      const context = await browser.newContext({ viewport, colorScheme: theme });
      const page = await context.newPage();
      for (const [name, show] of Object.entries(PAGES)) {
        await show(page, gateway);
        await page.screenshot({ path: `${folder}/${name}-${size}-${theme}.png`, fullPage: true });
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
}
