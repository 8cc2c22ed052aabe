import { afterEach, expect, test, vi } from "vitest";
import { clockQuery, makeQueryClient } from "./queries.ts";

afterEach(() => vi.unstubAllGlobals());

const AS_OF = "2026-01-01T00:00:00Z";

function ask(redis: string) {
  const ready = { status: "ready", model: "lr-1", kafka: "ok", redis, as_of: AS_OF };
  vi.stubGlobal("fetch", (request: Request) => {
    expect(request.url).toMatch(/\/readyz$/);
    return Promise.resolve(Response.json(ready));
  });
  return makeQueryClient().fetchQuery(clockQuery);
}

test("the gateway's now comes with who serves", async () => {
  expect(await ask("ok")).toMatchObject({ asOf: Date.parse(AS_OF), model: "lr-1" });
});

test("while Redis is away the gateway answers, and yet there is no now of users", async () => {
  await expect(ask("Redis, 127.0.0.1: no answer")).rejects.toMatchObject({
    message: "Users and alerts cannot be read now",
    detail: "Redis, 127.0.0.1: no answer",
  });
});
