/** Prometheus' text format, as far as the System page reads it. */

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export type Families = ReadonlyMap<string, readonly Sample[]>;

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

export function parseMetrics(text: string): Families {
  const families = new Map<string, Sample[]>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const [, name, labels, value] = LINE.exec(line) ?? [];
    if (name === undefined || value === undefined) continue;
    const sample = {
      labels: readLabels(labels ?? ""),
      value: Number(value.replace("Inf", "Infinity")),
    };
    const family = families.get(name);
    if (family === undefined) families.set(name, [sample]);
    else family.push(sample);
  }
  return families;
}

function readLabels(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    if (name !== undefined && value !== undefined) {
      found[name] = value.replace(/\\(.)/g, (_, sign: string) => (sign === "n" ? "\n" : sign));
    }
  }
  return found;
}

/** The sum over all samples; null where nothing reports it. */
export function total(families: Families, name: string): number | null {
  const family = families.get(name);
  return family === undefined ? null : family.reduce((sum, each) => sum + each.value, 0);
}

/** Their time is how long somebody listened, not how long an answer took. */
const LASTING: ReadonlySet<string> = new Set(["/alerts/stream"]);

export interface Route {
  readonly route: string;
  readonly answered: number;
  readonly refused: number;
  readonly failed: number;
  /** Seconds: half of the requests, and 99 of 100, took at most this; null without any. */
  readonly half: number | null;
  readonly most: number | null;
}

/** Requests by route since the gateway started, the busiest first. */
export function routes(families: Families): Route[] {
  const requests = families.get("ebbtide_http_requests_total") ?? [];
  const names = [...new Set(requests.map(({ labels }) => labels["route"] ?? ""))];
  return names
    .map((route) => {
      const lasting = LASTING.has(route);
      const of = (first: string) =>
        requests
          .filter(({ labels }) => labels["route"] === route && labels["status"]?.startsWith(first))
          .reduce((sum, { value }) => sum + value, 0);
      const buckets = (families.get("ebbtide_http_request_seconds_bucket") ?? [])
        .filter(({ labels }) => labels["route"] === route)
        .map(({ labels, value }) => ({
          upTo: Number((labels["le"] ?? "").replace("+Inf", "Infinity")),
          count: value,
        }));
      return {
        route,
        answered: of("2") + of("3"),
        refused: of("4"),
        failed: of("5"),
        half: lasting ? null : quantile(buckets, 0.5),
        most: lasting ? null : quantile(buckets, 0.99),
      };
    })
    .filter((each) => each.answered + each.refused + each.failed > 0)
    .sort((a, b) => b.answered - a.answered);
}

/**
 * The upper edge of the bucket that holds the quantile: a bound, since a histogram knows no more.
 * Infinity above the last edge.
 */
export function quantile(
  buckets: readonly { upTo: number; count: number }[],
  share: number,
): number | null {
  const ascending = buckets.toSorted((a, b) => a.upTo - b.upTo);
  const all = ascending.at(-1)?.count ?? 0;
  if (all === 0) return null;
  return ascending.find(({ count }) => count >= share * all)?.upTo ?? null;
}
