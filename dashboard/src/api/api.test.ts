import { expect, test } from "vitest";
import { Refused, refusal, type Alert } from "./client.ts";
import { merged, newer } from "./feed.ts";
import { parseMetrics, quantile, routes, total } from "./metrics.ts";

const alert = (alert_id: string, occurred_at: string) => ({ alert_id, occurred_at }) as Alert;

test("alerts are shown newest first and each once, however often they come", () => {
  const [a, b] = [alert("a", "2026-01-01T00:00:00Z"), alert("b", "2026-01-03T00:00:00Z")];
  const late = alert("c", "2026-01-02T00:00:00Z");

  const all = merged(merged([b, a], late), late);

  expect(all.map(({ alert_id }) => alert_id)).toEqual(["b", "c", "a"]);
});

test("new is what was not seen, wherever it stands", () => {
  const [a, b, c] = ["a", "b", "c"].map((id) => alert(id, "2026-01-01T00:00:00Z")) as [
    Alert,
    Alert,
    Alert,
  ];

  expect(newer([c, a, b], [a, b])).toBe(1);
  expect(newer([a], [a, b])).toBe(0);
});

test("a refusal says what the problem detail says, and something where there is none", () => {
  const told = refusal(422, {
    title: "The request breaks a limit",
    detail: "time_spent: too much",
    errors: [{ field: "time_spent", reason: "too much" }],
  });

  expect(told).toBeInstanceOf(Refused);
  expect([told.status, told.message, told.detail]).toEqual([
    422,
    "The request breaks a limit",
    "time_spent: too much",
  ]);
  expect(told.fields).toEqual([{ field: "time_spent", reason: "too much" }]);
  expect(refusal(502, "<html>").message).toBe("The gateway answered 502");
});

const METRICS = `# HELP ebbtide_http_requests_total Requests answered.
ebbtide_http_requests_total{route="/users",status="200"} 8.0
ebbtide_http_requests_total{route="/users",status="503"} 2.0
ebbtide_http_requests_total{route="/idle",status="200"} 0.0
ebbtide_http_request_seconds_bucket{le="0.01",route="/users"} 5.0
ebbtide_http_request_seconds_bucket{le="0.1",route="/users"} 9.0
ebbtide_http_request_seconds_bucket{le="+Inf",route="/users"} 10.0
odd{text="a \\"quoted\\" \\\\ and, a brace }"} 1.5e+09
process_start_time_seconds 1.79e+09
`;

test("requests are told by route, with bounds on their time", () => {
  expect(routes(parseMetrics(METRICS))).toEqual([
    { route: "/users", answered: 8, refused: 0, failed: 2, half: 0.01, most: Infinity },
  ]);
});

test("labels are read as they were meant, and absent metrics are not zero", () => {
  const families = parseMetrics(METRICS);

  expect(families.get("odd")).toEqual(
    [{ labels: { text: 'a "quoted" \\ and, a brace }' }, value: 1.5e9 }].map(
      ({ labels, value }) => ({ labels, value }),
    ),
  );
  expect(total(families, "process_start_time_seconds")).toBe(1.79e9);
  expect(total(families, "nobody_reports_this")).toBeNull();
});

test("a histogram of nothing has no quantile", () => {
  expect(quantile([], 0.5)).toBeNull();
  expect(quantile([{ upTo: 1, count: 0 }], 0.5)).toBeNull();
});
