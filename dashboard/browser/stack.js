// An `ebbtide up --demo` on ports nobody has, in a folder of its own, for as long as it is needed.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { receiver } from "./receiver.js";

const ROOT = new URL("../..", import.meta.url).pathname;
const WORKERS = ["scorer", "alerts", "history", "delivery"];
const READY_MS = 180_000;

/** A week in which one in a hundred crosses is a storm: so there is one soon after the backlog. */
const STORMY = { share: 0.01, window_minutes: 10_080, least_users: 10 };
export const CALM = { share: 1, window_minutes: 1, least_users: 1_000_000 };

/**
 * Runs `use(gateway, guarded, team)`, on the gateway that EBBTIDE_GATEWAY names or on one started
 * for it. Beside a gateway that somebody else started the others are null.
 *
 * `guarded(scopes, use)` starts another one beside it, which asks for keys, and makes a key.
 * `team` is the receiver of the policy's one channel, which refuses until it is told to accept, and
 * `team.storm(rules)` changes the policy's storm guard: at the beginning it is STORMY.
 */
export async function running(use) {
  if (process.env.EBBTIDE_GATEWAY !== undefined)
    return use(process.env.EBBTIDE_GATEWAY, null, null);
  const team = await receiver();
  const folder = await mkdtemp(join(tmpdir(), "ebbtide-dashboard-"));
  const options = ["kafka", "redis", ...WORKERS.map((worker) => `${worker}-health`)];
  const [port, ...others] = await freePorts(1 + options.length);
  const model = process.env.EBBTIDE_MODEL_DIR;
  const policy = join(folder, "policy.json");
  team.storm = (rules) => writeFile(policy, JSON.stringify(policyOf(team.url, rules)));
  await team.storm(STORMY);
  const up = spawn(
    process.env.PYTHON ?? join(ROOT, ".venv/bin/python"),
    [
      ...["-m", "ebbtide", "up", "--demo", "--data-dir", folder, "--port", port],
      ...["--alert-policy", policy],
      ...options.flatMap((option, i) => [`--${option}-port`, others[i]]),
      ...(model === undefined ? [] : ["--model-dir", model]),
    ].map(String),
    { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] },
  );
  const ended = once(up, "exit");
  try {
    await told(up, "Ctrl-C stops everything");
    const env = {
      EBBTIDE_KAFKA_BOOTSTRAP_SERVERS: `127.0.0.1:${others[0]}`,
      EBBTIDE_REDIS_URL: `redis://127.0.0.1:${others[1]}/0`,
      EBBTIDE_KAFKA_IDEMPOTENCE: "false",
      EBBTIDE_CLOCK: "stream",
      EBBTIDE_MODEL_DIR: model ?? join(folder, "model"),
      EBBTIDE_API_KEYS_FILE: join(folder, "keys.yaml"),
    };
    return await use(
      `http://127.0.0.1:${port}`,
      (scopes, beside) => guarded(env, scopes, beside),
      team,
    );
  } finally {
    up.kill("SIGINT");
    await ended;
    await team.close();
    await rm(folder, { recursive: true, force: true });
  }
}

const RULE = { threshold: 0.7, resolve_below: 0.5, channels: ["team"] };

/** JSON is YAML. A fifth of the users is held out, so that the effect has something to show. */
const policyOf = (url, storm) => ({
  rules: [
    { ...RULE, name: "subscribers", where: { plan: ["monthly", "yearly"] } },
    { ...RULE, name: "everybody" },
  ],
  channels: [
    {
      ...{ name: "team", kind: "webhook", url, secrets: [`whsec_${"A".repeat(43)}=`] },
      ...{ allow_private: true, allow_demo_model: true, rate_per_minute: 6_000 },
    },
  ],
  storm,
  holdout: { share: 0.2, epoch: "browser" },
});

async function guarded(env, scopes, use) {
  const python = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
  const file = env.EBBTIDE_API_KEYS_FILE;
  const words = ["keys", "new", "--name", "grace", "--scopes", scopes, "--file", file];
  const { stdout } = await promisify(execFile)(python, ["-m", "ebbtide", ...words], { cwd: ROOT });
  const [port] = await freePorts(1);
  const gateway = spawn(python, ["-m", "ebbtide", "api"], {
    cwd: ROOT,
    stdio: "ignore",
    env: { ...process.env, ...env, EBBTIDE_PORT: String(port) },
  });
  const ended = once(gateway, "exit");
  try {
    const url = `http://127.0.0.1:${port}`;
    const until = Date.now() + READY_MS;
    while (!(await fetch(`${url}/readyz?need=events`).catch(() => null))?.ok) {
      if (Date.now() > until || gateway.exitCode !== null) throw new Error("no guarded gateway");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await use(url, stdout.trim());
  } finally {
    gateway.kill("SIGTERM");
    await ended;
  }
}

async function told(process, words) {
  const lines = [];
  const late = setTimeout(() => process.kill("SIGKILL"), READY_MS);
  for await (const line of createInterface({ input: process.stdout })) {
    lines.push(line);
    if (line.includes(words)) {
      clearTimeout(late);
      // Read on, or a full pipe would stop it.
      process.stdout.resume();
      return;
    }
  }
  throw new Error(`it ended, or said nothing for too long:\n${lines.join("\n")}`);
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => server.address().port);
  servers.forEach((server) => server.close());
  return ports;
}
