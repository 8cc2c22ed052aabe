// An `ebbtide up --demo` on ports nobody has, in a folder of its own, for as long as it is needed.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const ROOT = new URL("../..", import.meta.url).pathname;
const READY_MS = 180_000;

/** Runs `use(gateway)`, on the gateway that EBBTIDE_GATEWAY names or on one started for it. */
export async function running(use) {
  if (process.env.EBBTIDE_GATEWAY !== undefined) return use(process.env.EBBTIDE_GATEWAY);
  const folder = await mkdtemp(join(tmpdir(), "ebbtide-dashboard-"));
  const [port, ...others] = await freePorts(5);
  const options = ["--kafka-port", "--redis-port", "--scorer-health-port", "--alerts-health-port"];
  const model = process.env.EBBTIDE_MODEL_DIR;
  const up = spawn(
    process.env.PYTHON ?? join(ROOT, ".venv/bin/python"),
    [
      ...["-m", "ebbtide", "up", "--demo", "--data-dir", folder, "--port", port],
      ...options.flatMap((option, i) => [option, others[i]]),
      ...(model === undefined ? [] : ["--model-dir", model]),
    ].map(String),
    { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] },
  );
  const ended = once(up, "exit");
  try {
    await told(up, "Ctrl-C stops everything");
    return await use(`http://127.0.0.1:${port}`);
  } finally {
    up.kill("SIGINT");
    await ended;
    await rm(folder, { recursive: true, force: true });
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
