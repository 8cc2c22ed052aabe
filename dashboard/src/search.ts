/** The state that addresses hold. Whatever else is written in an address counts for nothing. */
import type { Alert } from "./api/client.ts";
import { TOPICS, type Topic } from "./api/topics.ts";
import { SPANS, type Span } from "./charts/course.ts";
import { MEASURES, type Measure } from "./charts/days.ts";
import type { FeatureOrder } from "./model/quality.ts";
import { RANGES, type Basis, type Range } from "./now/trend.ts";

export const ORDERS = ["risk", "value", "change"] as const;
export type Order = (typeof ORDERS)[number];
export const ATTRIBUTES = ["location", "plan", "device_type", "referral_source"] as const;
export type Attribute = (typeof ATTRIBUTES)[number];

/** The list of users, in the words of `GET /users`; what is not there is as by default. */
export type AtRiskSearch = {
  /** How a user's id begins. */
  q?: string;
  order?: Exclude<Order, "risk">;
  min_risk?: number;
  max_risk?: number;
  /** Days since last seen, at most. */
  seen?: number;
  rule?: string;
  cancelled?: "include" | "only";
  lapsed?: "include" | "only";
  evidence?: "any";
  /** The cursor of a page behind the first. */
  after?: string;
} & { [name in Attribute]?: string };

export function atRiskSearch(given: Record<string, unknown>): AtRiskSearch {
  const found: AtRiskSearch = {};
  for (const name of ["q", "rule", "after", ...ATTRIBUTES] as const) {
    const said = words(given[name]);
    if (said !== undefined) found[name] = said;
  }
  if (given["order"] === "value" || given["order"] === "change") found.order = given["order"];
  const least = amount(given["min_risk"]);
  if (least !== undefined && least > 0 && least <= 1) found.min_risk = least;
  const below = amount(given["max_risk"]);
  if (below !== undefined && below > (found.min_risk ?? 0) && below <= 1) found.max_risk = below;
  const days = amount(given["seen"]);
  if (days !== undefined && days > 0 && days <= 36_500) found.seen = days;
  const { cancelled } = given;
  if (cancelled === "include" || cancelled === "only") found.cancelled = cancelled;
  const { lapsed } = given;
  if (lapsed === "include" || lapsed === "only") found.lapsed = lapsed;
  if (given["evidence"] === "any") found.evidence = "any";
  return found;
}

function amount(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

export interface NowSearch {
  /** How far back the trend goes. */
  range?: Range;
  /** Whose counts are shown, where that is not decided by whether there are any real ones. */
  basis?: Basis;
}

export function nowSearch(given: Record<string, unknown>): NowSearch {
  const found: NowSearch = {};
  const range = RANGES.find((each) => each === given["range"]);
  if (range !== undefined && range !== "week") found.range = range;
  const { basis } = given;
  if (basis === "counted" || basis === "simulated") found.basis = basis;
  return found;
}

export interface UserSearch {
  id?: string;
  /** How far back the risk is shown. */
  span?: Span;
  /** What of the days is shown. */
  by?: Measure;
}

export function userSearch(given: Record<string, unknown>): UserSearch {
  const found: UserSearch = {};
  const id = words(given["id"]);
  if (id !== undefined) found.id = id;
  const span = SPANS.find((each) => each === given["span"]);
  if (span !== undefined && span !== "month") found.span = span;
  const by = MEASURES.find((each) => each === given["by"]);
  if (by !== undefined && by !== "pages") found.by = by;
  return found;
}

/** The parts of the Alerts page. */
export const ALERT_TABS = ["open", "history", "deliveries", "verdicts", "effect"] as const;
export type AlertTab = (typeof ALERT_TABS)[number];

export const OPEN_STATES = ["open", "acknowledged", "snoozed"] as const;
export const SEVERITIES = ["critical", "warning", "info"] as const;
export const VERDICTS = ["helped", "wrong", "duplicate"] as const;
/** What somebody should look at first. */
export const DELIVERY_STATES = [
  "dead",
  "waiting",
  "held",
  "digest",
  "sent",
  "digested",
  "refused",
  "control",
  "overtaken",
  "discarded",
] as const;

export interface AlertsSearch {
  tab?: AlertTab;
  kind?: Alert["kind"];
  /** Of open episodes. */
  state?: (typeof OPEN_STATES)[number];
  /** The held-out, who are left out otherwise of what is open. */
  arm?: "control";
  rule?: string;
  severity?: (typeof SEVERITIES)[number];
  user?: string;
  channel?: string;
  delivery?: (typeof DELIVERY_STATES)[number];
  verdict?: (typeof VERDICTS)[number];
}

/** The part an address shows; who asks for a kind of alert asks for what was. */
export const tabOf = ({ tab, kind }: AlertsSearch): AlertTab =>
  tab ?? (kind === undefined ? "open" : "history");

export const KINDS: readonly Alert["kind"][] = [
  "opened",
  "escalated",
  "acknowledged",
  "snoozed",
  "resolved",
  "churned",
];

export function alertsSearch(given: Record<string, unknown>): AlertsSearch {
  const found: AlertsSearch = {};
  const among = <T>(all: readonly T[], name: string) => all.find((each) => each === given[name]);
  const [tab, kind, state] = [
    among(ALERT_TABS, "tab"),
    among(KINDS, "kind"),
    among(OPEN_STATES, "state"),
  ];
  if (tab !== undefined) found.tab = tab;
  if (kind !== undefined) found.kind = kind;
  if (state !== undefined) found.state = state;
  if (given["arm"] === "control") found.arm = "control";
  for (const name of ["rule", "user", "channel"] as const) {
    const said = words(given[name]);
    if (said !== undefined) found[name] = said;
  }
  const severity = among(SEVERITIES, "severity");
  if (severity !== undefined) found.severity = severity;
  const delivery = among(DELIVERY_STATES, "delivery");
  if (delivery !== undefined) found.delivery = delivery;
  const verdict = among(VERDICTS, "verdict");
  if (verdict !== undefined) found.verdict = verdict;
  return found;
}

/** The router reads `?id=42` as a number; a user's id is text all the same. */
function words(value: unknown): string | undefined {
  if (typeof value === "string" && value !== "") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}

export interface PageSearch {
  /** From 1. */
  page?: number;
}

export function pageSearch(given: Record<string, unknown>): PageSearch {
  const page = Number(given["page"]);
  return Number.isInteger(page) && page > 1 ? { page } : {};
}

/** The parts of the Model page. */
export const MODEL_PARTS = ["quality", "stability", "inputs", "origin"] as const;
export type ModelPart = (typeof MODEL_PARTS)[number];

export interface ModelSearch {
  part?: Exclude<ModelPart, "quality">;
  /** Which moments the calibration is shown of. */
  moments?: string;
  order?: Exclude<FeatureOrder, "effect">;
  /** Whether all features are listed, rather than the first of the order. */
  all?: true;
}

export function modelSearch(given: Record<string, unknown>): ModelSearch {
  const found: ModelSearch = {};
  const { part, moments, order, all } = given;
  if (part === "stability" || part === "inputs" || part === "origin") found.part = part;
  if (typeof moments === "string" && moments !== "all") found.moments = moments;
  if (order === "drift" || order === "name") found.order = order;
  if (all === true) found.all = true;
  return found;
}

/** The parts of the System page. */
export const SYSTEM_PARTS = ["machine", "letters", "requests"] as const;
export type SystemPart = (typeof SYSTEM_PARTS)[number];

export interface SystemSearch {
  part?: Exclude<SystemPart, "machine">;
  /** Whose dead letters are shown. */
  topic?: Topic;
  /** Part of their reason. */
  reason?: string;
  /** The cursor of a page of them behind the first. */
  after?: string;
}

export function systemSearch(given: Record<string, unknown>): SystemSearch {
  const found: SystemSearch = {};
  const { part } = given;
  if (part === "letters" || part === "requests") found.part = part;
  const topic = TOPICS.find((each) => each === given["topic"]);
  if (topic !== undefined && topic !== "activity-event") found.topic = topic;
  for (const name of ["reason", "after"] as const) {
    const said = words(given[name]);
    if (said !== undefined) found[name] = said;
  }
  return found;
}

/** The part an address shows; who looks for a dead letter asks for those. */
export const systemPartOf = ({ part, topic, reason, after }: SystemSearch): SystemPart =>
  part ?? ([topic, reason, after].some((each) => each !== undefined) ? "letters" : "machine");

/** The audit log: which of its lists, and which page of it. */
export function auditSearch(search: Record<string, unknown>): { page?: number; kind?: "read" } {
  return { ...pageSearch(search), ...(search["kind"] === "read" && { kind: "read" as const }) };
}
