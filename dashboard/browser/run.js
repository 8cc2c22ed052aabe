// The dashboard as people meet it: every page in a real browser, against a real `ebbtide up --demo`.
//
//   npm run browser                      starts one on free ports, and ends it
//   EBBTIDE_GATEWAY=http://... npm run browser      uses a running one
//   npm run browser -- alert             only tests whose name contains it
//   EBBTIDE_MODEL_DIR=... saves the half minute of training; SHOTS=folder is where screenshots go
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { launch, PAGES, PARTS, settled, SIZES, THEMES } from "./stage.js";
import { CALM, running } from "./stack.js";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const shots = process.env.SHOTS;
if (shots !== undefined) await mkdir(shots, { recursive: true });

const tests = {
  "every page at both sizes in both themes: accessible, within the screen, without an error, from one host":
    async (browser, gateway) => {
      for (const [size, viewport] of Object.entries(SIZES)) {
        const context = await browser.newContext({ viewport });
        const page = await context.newPage();
        const trouble = troubles(page, gateway);
        for (const [name, show] of Object.entries(PAGES)) {
          await page.emulateMedia({ colorScheme: "light" });
          await show(page, gateway);
          assert.match(await page.title(), / · Ebbtide$/, name);
          for (const theme of THEMES) {
            const what = `${name}, ${size}, ${theme}`;
            await page.emulateMedia({ colorScheme: theme });
            // A theme changes colours only.
            const rules = theme === THEMES[0] ? undefined : ["color-contrast"];
            assert.deepEqual(await violations(page, rules), [], what);
            const width = await page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok(width <= viewport.width, `${what}: ${width} px wide`);
            if (shots !== undefined) {
              await page.screenshot({ path: `${shots}/${name}-${size}-${theme}.png` });
            }
            assert.deepEqual(trouble, [], what);
          }
        }
        await context.close();
      }
    },

  "first paint within a second of a cold load": async (browser, gateway) => {
    const context = await browser.newContext({ viewport: SIZES.wide });
    const page = await context.newPage();
    await PAGES["at-risk"](page, gateway);
    const painted = await page.evaluate(
      () => performance.getEntriesByName("first-contentful-paint")[0].startTime,
    );
    console.log(`  first contentful paint after ${Math.round(painted)} ms`);
    assert.ok(painted < 1000, `${painted} ms`);
    await context.close();
  },

  "the system page names who works, how far behind they are, and keeps its filter in the address":
    async (browser, gateway) => {
      const page = await browser.newPage();
      await PAGES.system(page, gateway);
      for (const service of ["scorer", "alerts", "history"]) {
        await page.locator(".workers li.ok", { hasText: service }).first().waitFor();
      }
      await page.locator(".topics summary", { hasText: "activity-event" }).first().click();
      await page.getByRole("columnheader", { name: "Watermark" }).first().waitFor();
      await page.getByRole("link", { name: "Dead letters" }).click();
      await page.getByLabel("Reason contains").fill("not JSON");
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "None with such a reason" }).waitFor();
      await page.reload();
      assert.equal(await page.getByLabel("Reason contains").inputValue(), "not JSON");
      await page.close();
    },

  "the model page says what it learned from, and orders features by their drift": async (
    browser,
    gateway,
  ) => {
    const page = await browser.newPage();
    await PAGES.model(page, gateway);
    await page.getByText("No real user taught this model.").waitFor();
    await page.getByRole("link", { name: "Inputs" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "What has drifted most" }).click();
    await page.waitForURL(/part=inputs.*order=drift/);
    assert.equal(await page.locator(".features summary").count(), 10);
    await page.getByRole("link", { name: /^All \d+ features$/ }).click();
    await page.waitForURL(/all=true/);
    await page.locator(".features li:nth-child(11)").waitFor();
    await page.locator(".features summary").first().click();
    await page.getByText("Why it is read").first().waitFor();
    const report = await page.request.get(`${gateway}/model/report`);
    assert.match(report.headers()["content-security-policy"], /sandbox/);
    await page.close();
  },

  "every part of a page fits a narrow screen, with all that folds opened, and is accessible":
    async (browser, gateway) => {
      const context = await browser.newContext({ viewport: SIZES.narrow });
      const page = await context.newPage();
      // The longest of what a moment may be.
      await page.addInitScript(() => localStorage.setItem("ebbtide.times", "exact"));
      const trouble = troubles(page, gateway);
      for (const [name, address] of Object.entries(PARTS)) {
        await page.goto(`${gateway}/app/${address}`);
        await settled(page);
        await openAll(page);
        assert.ok((await width(page)) <= SIZES.narrow.width, `${name} is too wide`);
        // Alerts come with rows that the page of open ones has, too.
        if (!name.startsWith("alerts")) assert.deepEqual(await violations(page), [], name);
        assert.deepEqual(trouble, [], name);
        if (shots !== undefined)
          await page.screenshot({ path: `${shots}/${name}-narrow-light.png` });
      }
      for (const [name, show] of Object.entries(PAGES)) {
        await show(page, gateway);
        await openAll(page);
        assert.ok((await width(page)) <= SIZES.narrow.width, `${name} is too wide when opened`);
      }
      await context.close();
    },

  "a slow Now page says that it loads, and one that is cut off how old it is": async (
    browser,
    gateway,
  ) => {
    const context = await browser.newContext({ viewport: SIZES.narrow });
    const page = await context.newPage();
    await page.clock.install();
    const fits = async (what) =>
      assert.ok((await width(page)) <= SIZES.narrow.width, `${what} is too wide`);
    const { promise: patience, resolve: answer } = withResolvers();
    await page.route(/\/population|\/alerts\?/, async (route) => {
      await patience;
      await route.continue();
    });
    await page.route(/\/alerts\/stream/, (route) => route.abort());
    await page.goto(`${gateway}/app/`);
    await page.getByRole("heading", { level: 1, name: "Now" }).waitFor();
    assert.equal(await page.locator("main .loading").count(), 2);
    assert.equal(await page.getByText("…", { exact: true }).count(), 2);
    assert.equal(await page.locator(".trend, .bands, li.alert").count(), 0);
    assert.deepEqual(await violations(page), [], "while it loads");
    await fits("while it loads");

    answer();
    await page.locator(".trend .layer").first().waitFor();
    await page.locator("li.alert").first().waitFor();
    await page.getByText("asked for every 5 s").waitFor();
    assert.equal(await page.locator("main .loading").count(), 0);

    const asked = /\/(population|alerts|readyz)/;
    await page.route(asked, (route) => route.abort());
    await page.clock.runFor(7_000);
    await page.getByText("The gateway does not answer").waitFor();
    await page.clock.runFor(120_000);
    await page.getByText(/What you see was true (2|3) minutes ago/).waitFor();
    await page.getByText("not connected").waitFor();
    assert.ok((await page.locator(".trend .layer").count()) > 0);
    assert.ok((await page.locator("li.alert").count()) > 0);
    assert.deepEqual(await violations(page), [], "when it is cut off");
    await fits("when it is cut off");

    await page.unroute(asked);
    await page.clock.runFor(7_000);
    await page.getByText("The gateway does not answer").waitFor({ state: "detached" });
    await page.getByText("not connected").waitFor({ state: "detached" });
    await context.close();
  },

  "an alert appears while the page is open": async (browser, gateway) => {
    const page = await browser.newPage();
    await PAGES.alerts(page, gateway);
    await page.locator(".liveness.live").waitFor();
    await page.locator("li.alert.fresh").first().waitFor({ timeout: 45_000 });
    await page.close();
  },

  "what is said of an alert reaches the alerts worker": async (browser, gateway) => {
    const page = await browser.newPage();
    await page.goto(`${gateway}/app/alerts?kind=opened`);
    const alert = page.locator("li.alert").first();
    const user = await alert.locator(".id").textContent();
    await alert.getByRole("button", { name: /^Act/ }).click();
    await page.getByRole("menuitem", { name: "I take care of it" }).click();
    await page.getByText("Taken on").first().waitFor();
    await page.goto(`${gateway}/app/user?id=${encodeURIComponent(user ?? "")}`);
    await page.locator(".episode.acknowledged").first().waitFor();
    await page.close();
  },

  "a user's page takes an alert on, says so when it is done, and keeps what it shows in its address":
    async (browser, gateway) => {
      const page = await browser.newPage();
      const { alerts } = await (await fetch(`${gateway}/alerts?kind=opened&limit=50`)).json();
      const id = alerts.at(-1).user_id;
      await page.goto(`${gateway}/app/user?id=${encodeURIComponent(id)}`);
      await page.getByRole("img", { name: /^Risk over time/ }).waitFor();
      await page.locator(".happenings li").first().waitFor();
      const episode = page.locator(".episode.open").first();
      if ((await episode.count()) > 0) {
        await episode.getByRole("button", { name: "I take care of it" }).click();
        await page.locator(".outcome.done").waitFor();
        await page.locator(".episode.acknowledged .transition.acknowledged").first().waitFor();
      }
      await page.getByRole("button", { name: "Week" }).click();
      await page.getByRole("button", { name: "Visits" }).click();
      await page.waitForURL(/span=week.*by=visits/);
      await page.reload();
      await page.locator("button[data-pressed]", { hasText: "Visits" }).waitFor();
      await page.close();
    },

  "a lost connection is said, what was known stays, and it ends by itself": async (
    browser,
    gateway,
  ) => {
    const page = await browser.newPage();
    await PAGES["at-risk"](page, gateway);
    await page.route(/\/users|\/readyz/, (route) => route.abort());
    await page.getByText("The gateway does not answer").waitFor();
    assert.ok((await page.locator("table.users tbody tr").count()) > 0);
    await page.unroute(/\/users|\/readyz/);
    await page.getByText("The gateway does not answer").waitFor({ state: "detached" });
    await page.close();
  },

  "what the table shows is in the address, and by keyboard alone one gets to a user": async (
    browser,
    gateway,
  ) => {
    const page = await browser.newPage();
    await PAGES["at-risk"](page, gateway);
    await page.getByLabel("User id begins with").fill("user-01");
    await page.waitForURL(/q=user-01/);
    await page.waitForFunction(() =>
      [...document.querySelectorAll("table.users:not(.busy) .id")].every(({ textContent }) =>
        textContent?.startsWith("user-01"),
      ),
    );
    await page.locator("table.users:not(.busy)").waitFor();
    await page.getByRole("link", { name: "Next" }).focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(/after=/);
    await page.getByText("Page 2").waitFor();
    const ids = () => page.locator("table.users .id").allTextContents();
    await page.reload();
    await page.getByText("Page 2").waitFor();
    await page.locator("table.users tbody tr").first().waitFor();
    assert.ok((await ids()).every((id) => id.startsWith("user-01")));
    await page.keyboard.press("Tab");
    assert.equal(
      await page.evaluate(() => document.activeElement?.textContent),
      "Skip to the page",
    );
    const first = page.locator("table.users .id").first();
    const name = await first.textContent();
    await first.focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/app\/user/);
    await page.getByRole("heading", { level: 1, name: name ?? "" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement?.id), "main");
    await page.close();
  },

  "a user's reasons add up to the risk shown": async (browser, gateway) => {
    const page = await browser.newPage();
    await PAGES.user(page, gateway);
    const adds = await page.locator(".reasons tbody .of-number").allTextContents();
    const together = await page.locator(".reasons tfoot .of-number").textContent();
    const value = (text) => Number((text ?? "").replace("−", "-"));
    const sum = adds.reduce((odds, text) => odds + value(text), 0);
    assert.ok(Math.abs(sum - value(together)) < 0.05, `${adds} are not ${together}`);
    const risk = await page.locator(".verdict .value").first().textContent();
    assert.ok(
      (await page.locator(".reasons tfoot").textContent())?.includes(risk ?? "?"),
      risk ?? "",
    );
    await page.close();
  },

  "a name nobody has, and one that would be markup, are told apart from pages": async (
    browser,
    gateway,
  ) => {
    const page = await browser.newPage();
    const name = `<img src=x onerror="document.title='hacked'">/..`;
    await page.goto(`${gateway}/app/user?id=${encodeURIComponent(name)}`);
    await page.getByText("Nothing is known of this user").waitFor();
    assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), name);
    await page.goto(`${gateway}/app/nowhere`);
    await page.getByText("There is no such page").waitFor();
    await page.close();
  },

  "a form that changes is scored again, and what the gateway refuses is said at the field": async (
    browser,
    gateway,
  ) => {
    const page = await browser.newPage();
    await PAGES["try-it"](page, gateway);
    const answer = page.locator(".answer .value");
    const before = await answer.textContent();
    await page.getByLabel("Pages visited").fill("900");
    await page.waitForFunction(
      (old) => document.querySelector(".answer .value")?.textContent !== old,
      before,
    );
    assert.match((await page.locator(".shell pre").textContent()) ?? "", /"pages_visited":900/);
    await page.getByLabel("Pages visited").fill("-1");
    await page.getByText(/must be/).waitFor();
    await page.close();
  },

  "a gateway with keys asks for one in place of the page, shows what it may, and forgets it":
    async (browser, _, guarded) => {
      if (guarded === null) {
        console.log(
          "  not here: it needs a gateway of its own, beside one started for these tests",
        );
        return;
      }
      await guarded("read", async (gateway, key) => {
        const context = await browser.newContext({ viewport: SIZES.narrow });
        const page = await context.newPage();
        const status = (path, init) =>
          page.evaluate(async ([to, how]) => (await fetch(to, how)).status, [path, init]);
        await page.goto(`${gateway}/app/alerts?kind=opened`);
        await page.getByLabel("Key").fill("ebb_wrong");
        assert.deepEqual(await violations(page), []);
        await page.keyboard.press("Enter");
        await page.getByRole("alert").getByText("This key is unknown, or has expired.").waitFor();
        await page.getByLabel("Key").fill(key);
        await page.keyboard.press("Enter");
        await page.locator("li.alert").first().waitFor();
        assert.equal(page.url(), `${gateway}/app/alerts?kind=opened`);
        const heard = () =>
          new Promise((told) => {
            const stream = new EventSource("/alerts/stream");
            stream.onopen = stream.onerror = ({ type }) => (stream.close(), told(type));
          });
        assert.equal(await page.evaluate(heard), "open");
        assert.equal(await page.getByRole("link", { name: "Try it" }).count(), 0);
        await page.goto(`${gateway}/app/alerts?tab=deliveries`);
        await page.getByRole("list", { name: "Failed deliveries" }).waitFor();
        const acts = page.getByRole("button", { name: /Send again|Release|Discard|Hold nothing/ });
        assert.equal(await acts.count(), 0);
        assert.equal(await page.evaluate(() => document.cookie), "");
        const erase = { method: "DELETE", headers: { "Ebbtide-Page": "1" } };
        assert.deepEqual(
          [await status("/users?limit=1"), await status("/users/x", erase)],
          [200, 403],
        );
        await page.getByRole("link", { name: "grace" }).click();
        await page.getByRole("button", { name: "Log out" }).click();
        await page.getByLabel("Key").waitFor();
        assert.equal(await status("/users?limit=1"), 401);
        await context.close();
      });
    },

  "a delivery that failed is sent again, and the page says what became of it": async (
    browser,
    gateway,
    _,
    team,
  ) => {
    if (team === null) return elsewhere();
    const page = await browser.newPage({ viewport: SIZES.narrow });
    await page.goto(`${gateway}/app/alerts?tab=deliveries`);
    await page.getByRole("list", { name: "Failed deliveries" }).locator("li").first().waitFor();
    // Of somebody who has left there will be no other meanwhile.
    const asked = await fetch(`${gateway}/deliveries?state=dead&limit=200`);
    const { deliveries } = await asked.json();
    const { user_id, message_id } =
      deliveries.find(({ label }) => label === "churned") ?? deliveries.at(-1);
    await page.goto(`${gateway}/app/alerts?tab=deliveries&user=${user_id}`);
    const row = page.locator("li.delivery").first();
    const again = row.getByRole("button", { name: /^Send again/ });
    await again.click();
    await row.getByText("Sent again: it failed again").waitFor();
    await row.getByText("2 attempts").waitFor();
    assert.deepEqual(team.taken, []);
    team.accept();
    await again.click();
    await page.locator("li.delivery.good", { hasText: "Sent again: it was told" }).waitFor();
    assert.equal(team.taken.filter(({ id }) => id === message_id).length, 1);
    await page.close();
  },

  "a storm is seen on every page that shows alerts, discarded, released and cleared": async (
    browser,
    gateway,
    _,
    team,
  ) => {
    if (team === null) return elsewhere();
    team.accept();
    const asked = async (path) => (await fetch(`${gateway}${path}`)).json();
    const ofState = async (state) => (await asked(`/deliveries?state=${state}`)).deliveries;
    const until = async (what, holds) => {
      for (const began = Date.now(); !(await holds());) {
        assert.ok(Date.now() - began < 60_000, `not yet: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    };
    const isHeld = async () => (await asked("/storm")).held > 0;
    await until("held messages", isHeld);
    const page = await browser.newPage();
    const banner = page.getByRole("region", { name: "Alert storm" });
    for (const [size, viewport] of Object.entries(SIZES)) {
      await page.setViewportSize(viewport);
      await page.goto(`${gateway}/app/alerts`);
      await banner.waitFor();
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= viewport.width, `${size}: ${width} px wide`);
      for (const theme of THEMES) {
        await page.emulateMedia({ colorScheme: theme });
        if (shots !== undefined) {
          await page.screenshot({ path: `${shots}/storm-${size}-${theme}.png` });
        }
        // Sizes differ in layout only, themes in colours.
        if (size === "wide") continue;
        const rules = theme === THEMES[0] ? undefined : ["color-contrast"];
        assert.deepEqual(await violations(page, rules), [], `storm, ${theme}`);
      }
    }
    await page.goto(`${gateway}/app/`);
    await page.getByRole("link", { name: "See why, and decide" }).click();

    await banner.getByRole("button", { name: "Discard" }).click();
    const dialog = page.getByRole("alertdialog");
    assert.deepEqual(await violations(page), [], "the dialog");
    await dialog.getByRole("button", { name: "Keep them" }).click();
    await dialog.waitFor({ state: "detached" });
    await banner.getByRole("button", { name: "Discard" }).click();
    await dialog.getByRole("button", { name: "Discard them" }).click();
    await banner.getByText("Somebody discarded what was held").waitFor();
    await until("what was decided done", async () => (await asked("/storm")).pending === null);
    assert.ok((await ofState("discarded")).length > 0);

    await until("more held messages", isHeld);
    const held = new Set((await ofState("held")).map(({ message_id }) => message_id));
    await banner.getByRole("button", { name: "Release: tell" }).click();
    await page.getByText("nothing is held any more: Somebody released").waitFor();
    await until("a released message told", () => team.taken.some(({ id }) => held.has(id)));
    await page.goto(`${gateway}/app/audit`);
    for (const act of ["released a storm", "discarded a storm", "sent a delivery again"]) {
      await page.getByText(act).first().waitFor();
    }
    await team.storm(CALM);
    await until("its end", async () => (await asked("/storm")).raging === null);
    await page.goto(`${gateway}/app/alerts`);
    await page.getByText(/^The last alert storm cleared/).waitFor();
    await page.close();
  },

  "a chosen theme stays": async (browser, gateway) => {
    const context = await browser.newContext({ colorScheme: "light" });
    const page = await context.newPage();
    await PAGES.model(page, gateway);
    const ground = () =>
      page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await ground();
    await page.getByRole("button", { name: "Dark" }).click();
    const dark = await ground();
    await page.reload();
    await page.locator(".measures").first().waitFor();
    assert.notEqual(dark, light);
    assert.equal(await ground(), dark);
    await context.close();
  },
};

function elsewhere() {
  console.log("  not here: it needs a receiver, beside a stack started for these tests");
}

/** What goes wrong on the page, as it happens: errors, refused policies, another host's assets. */
function troubles(page, gateway) {
  const found = [];
  page.on("pageerror", (error) => found.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") found.push(message.text());
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(gateway) && !url.startsWith("data:")) found.push(`asks ${url}`);
  });
  return found;
}

const width = (page) => page.evaluate(() => document.documentElement.scrollWidth);

const openAll = (page) =>
  page.evaluate(() => {
    for (const fold of document.querySelectorAll("main details:not([open]) > summary"))
      fold.click();
    // What is in them is there with the next frame.
    return new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
  });

function withResolvers() {
  let resolve;
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}

async function violations(page, rules) {
  await page.evaluate(axe);
  const { violations: all } = await page.evaluate(
    (only) => window.axe.run({ resultTypes: ["violations"], ...(only && { runOnly: only }) }),
    rules,
  );
  return all.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).slice(0, 3)}`);
}

const wanted = process.argv[2] ?? "";
let failed = 0;
await running(async (gateway, guarded, team) => {
  const browser = await launch();
  try {
    for (const [name, test] of Object.entries(tests)) {
      if (!name.includes(wanted)) continue;
      const began = Date.now();
      try {
        await test(browser, gateway, guarded, team);
        console.log(`ok: ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
      } catch (error) {
        failed += 1;
        console.log(`FAILED: ${name}\n${error.message}`);
      }
    }
  } finally {
    await browser.close();
  }
});
process.exitCode = failed === 0 ? 0 : 1;
