import { QueryClient } from "@tanstack/react-query";
import { afterEach, expect, test, vi } from "vitest";
import { gateway, PAGE_HEADERS, Refused } from "./client.ts";
import { makeQueryClient } from "./queries.ts";
import { isStranger, logIn, logOut, may, sessionQuery, type Session } from "./session.ts";

const GRACE: Session = {
  needs_key: true,
  name: "grace",
  via: "session",
  scopes: ["read"],
  expires_at: null,
};
const NOBODY: Session = { ...GRACE, name: null, via: null, scopes: [] };

afterEach(() => vi.unstubAllGlobals());

function answering(status: number, told?: unknown): Request[] {
  const asked: Request[] = [];
  vi.stubGlobal("fetch", (request: Request) => {
    asked.push(request);
    const body = told === undefined ? null : JSON.stringify(told);
    const headers = {
      "content-type": "application/json",
      "content-length": `${body?.length ?? 0}`,
    };
    return Promise.resolve(new Response(body, { status, headers }));
  });
  return asked;
}

test("a stranger is who has not said, where it has to be said", () => {
  expect(isStranger(NOBODY)).toBe(true);
  expect(isStranger(GRACE)).toBe(false);
  expect(isStranger({ ...NOBODY, needs_key: false })).toBe(false);
  expect(isStranger(undefined)).toBe(false);
});

test("an action is hidden until it is known to be allowed, and shown where nobody can be asked", () => {
  expect(may(undefined, "operate", false)).toBe(false);
  expect(may(undefined, "operate", true)).toBe(true);
  expect(may(GRACE, "operate", false)).toBe(false);
  expect(may(GRACE, "read", false)).toBe(true);
});

test("a login sends the key once, keeps it nowhere, and asks again for what was refused", async () => {
  const asked = answering(200, GRACE);
  const queries = new QueryClient();
  queries.setQueryData(["clock"], 1);
  await logIn(queries, "ebb_secret");

  expect(await asked[0]?.clone().json()).toEqual({ key: "ebb_secret" });
  expect(asked[0]?.headers.get("Ebbtide-Page")).toBe(PAGE_HEADERS["Ebbtide-Page"]);
  expect(queries.getQueryData(sessionQuery.queryKey)).toEqual(GRACE);
  expect(queries.getQueryState(["clock"])?.isInvalidated).toBe(true);
  expect(JSON.stringify({ ...localStorage, ...sessionStorage })).not.toContain("ebb_secret");
});

test("a wrong key says what the gateway says", async () => {
  answering(401, { title: "A key is needed", detail: "this key is unknown" });
  const failure = await logIn(new QueryClient(), "x").catch((error: unknown) => error);

  expect(failure).toBeInstanceOf(Refused);
  expect((failure as Refused).detail).toBe("this key is unknown");
});

test.each([204, 503])("a logout answered %i leaves nothing of what was seen", async (status) => {
  answering(status, status === 204 ? undefined : { title: "away" });
  const queries = new QueryClient();
  queries.setQueryData(sessionQuery.queryKey, GRACE);
  queries.setQueryData(["user", "ada"], { secret: 1 });
  await logOut(queries);

  expect(queries.getQueryData(["user", "ada"])).toBeUndefined();
  expect(isStranger(queries.getQueryData(sessionQuery.queryKey))).toBe(true);
});

test("a refused logout is told", async () => {
  answering(403, { title: "Another page's request is not taken" });

  await expect(logOut(new QueryClient())).rejects.toThrow("Another page's request is not taken");
});

test("whatever is answered 401 makes the page ask who looks", async () => {
  answering(401, { title: "A key is needed" });
  const queries = makeQueryClient();
  queries.setQueryData(sessionQuery.queryKey, GRACE);
  await queries
    .fetchQuery({
      queryKey: ["x"],
      queryFn: () =>
        gateway.GET("/model").then(() => {
          throw new Refused(401, "A key is needed", "");
        }),
    })
    .catch(() => undefined);

  expect(queries.getQueryState(sessionQuery.queryKey)?.isInvalidated).toBe(true);
});
