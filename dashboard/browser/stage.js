// The browser, the pages, and how each is known to be there.
import { chromium } from "playwright-core";

export const SIZES = {
  wide: { width: 1440, height: 900 },
  narrow: { width: 360, height: 740 },
};
export const THEMES = ["light", "dark"];

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** The first user of the list by risk who is not gone from the start: one with a story to show. */
async function riskiest(gateway) {
  const { users } = await (await fetch(`${gateway}/users?limit=200`)).json();
  return users[Math.floor(users.length / 2)].user_id;
}

export const PAGES = {
  "at-risk": async (page, gateway) => {
    await page.goto(`${gateway}/app/at-risk`);
    await page.locator("table.users tbody tr").first().waitFor();
  },
  user: async (page, gateway) => {
    await page.goto(`${gateway}/app/user?id=${encodeURIComponent(await riskiest(gateway))}`);
    await page.locator(".reasons, .verdict").first().waitFor();
  },
  alerts: async (page, gateway) => {
    await page.goto(`${gateway}/app/alerts`);
    await page.locator("li.alert").first().waitFor();
  },
  model: async (page, gateway) => {
    await page.goto(`${gateway}/app/model`);
    await page.locator(".measures").first().waitFor();
    await page.locator(".plotted .point").first().waitFor();
  },
  system: async (page, gateway) => {
    await page.goto(`${gateway}/app/system`);
    await page.locator(".workers li").first().waitFor();
    await page.locator(".topics summary").first().waitFor();
  },
  access: async (page, gateway) => {
    await page.goto(`${gateway}/app/login`);
    await page.locator(".scopes").waitFor();
  },
  audit: async (page, gateway) => {
    await page.goto(`${gateway}/app/audit`);
    await page.locator(".empty, table.audit").first().waitFor();
  },
  "try-it": async (page, gateway) => {
    await page.goto(`${gateway}/app/try`);
    await page.locator(".answer .value").waitFor();
  },
  // Last, for what it shows grows with the time the demo has been running.
  now: async (page, gateway) => {
    await page.goto(`${gateway}/app/`);
    await page.locator(".trend .layer").first().waitFor();
    await page.locator("li.alert").first().waitFor();
  },
};

/** What PAGES leaves out: the other parts of pages that have several. */
export const PARTS = {
  "model-stability": "model?part=stability",
  "model-inputs": "model?part=inputs&all=true",
  "model-origin": "model?part=origin",
  "system-letters": "system?part=letters",
  "system-requests": "system?part=requests",
  "alerts-history": "alerts?tab=history",
  "alerts-deliveries": "alerts?tab=deliveries",
  "alerts-verdicts": "alerts?tab=verdicts",
  "alerts-effect": "alerts?tab=effect",
};

/** Until the page has what it asked for. */
export async function settled(page) {
  await page.locator("h1").waitFor();
  await page.locator("main .loading").waitFor({ state: "detached" });
}
