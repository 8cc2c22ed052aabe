/** What narrows the table of users, and in what order it is. */
import type { RankedUser } from "../api/client.ts";
import { Choice, type Option } from "../parts/Choice.tsx";
import { Typed } from "../parts/Typed.tsx";
import { ATTRIBUTES, type AtRiskSearch, type Attribute, type Order } from "../search.ts";
import { percent } from "../words/numbers.ts";
import { named, narrowing } from "./ranking.ts";

const ORDERS: readonly Option<Order>[] = [
  { value: "risk", label: "Highest risk" },
  { value: "value", label: "Most money at risk" },
  { value: "change", label: "Risen most in 7 days" },
];

const SEEN: readonly Option<string>[] = [
  { value: "", label: "Any time" },
  { value: "1", label: "Within a day" },
  { value: "7", label: "Within 7 days" },
  { value: "30", label: "Within 30 days" },
  { value: "90", label: "Within 90 days" },
];

const RISKS: readonly Option<string>[] = [
  { value: "-", label: "Any" },
  { value: "0.7-", label: "70% and more" },
  { value: "0.5-0.7", label: "50% to 70%" },
  { value: "0.3-0.5", label: "30% to 50%" },
  { value: "0.1-0.3", label: "10% to 30%" },
  { value: "-0.1", label: "Below 10%" },
];

const SHOWN: readonly Option<"exclude" | "include" | "only">[] = [
  { value: "exclude", label: "Left out" },
  { value: "include", label: "Shown" },
  { value: "only", label: "Shown alone" },
];

const EVIDENCE: readonly Option<"enough" | "any">[] = [
  { value: "enough", label: "Left out" },
  { value: "any", label: "Shown" },
];

const NAMES: Readonly<Record<Attribute, string>> = {
  location: "Location",
  plan: "Plan",
  device_type: "Device",
  referral_source: "Came from",
};

/** What to change of the search; undefined takes it out. */
export type Change = { [name in keyof AtRiskSearch]: AtRiskSearch[name] | undefined };

export function AtRiskFilters({
  search,
  change,
  users,
}: {
  search: AtRiskSearch;
  change: (to: Change, whileTyping?: boolean) => void;
  users: readonly RankedUser[];
}) {
  const count = narrowing(search);
  const rules = [...new Set(users.flatMap(({ open_alert }) => open_alert?.rule ?? []))].toSorted();
  const typed = (name: Attribute | "rule" | "q") => (value: string) =>
    change({ [name]: value === "" ? undefined : value }, true);
  return (
    <div role="search">
      <div className="controls">
        <Typed name="User id begins with" value={search.q ?? ""} say={typed("q")} search />
        <Choice
          name="Order"
          options={ORDERS}
          value={search.order ?? "risk"}
          choose={(order) => change({ order: order === "risk" ? undefined : order })}
        />
        <Choice
          name="Last seen"
          options={known(
            SEEN,
            search.seen === undefined ? "" : String(search.seen),
            (days) => `Within ${days} days`,
          )}
          value={search.seen === undefined ? "" : String(search.seen)}
          choose={(days) => change({ seen: days === "" ? undefined : Number(days) })}
        />
        <Choice
          name="Risk"
          options={known(RISKS, risk(search), spanned)}
          value={risk(search)}
          choose={(chosen) => {
            const [least = "", below = ""] = chosen.split("-");
            change({
              min_risk: least === "" ? undefined : Number(least),
              max_risk: below === "" ? undefined : Number(below),
            });
          }}
        />
      </div>
      <details className="filters" open={count > 0 ? true : undefined}>
        <summary>{count === 0 ? "More filters" : `Filters (${count})`}</summary>
        <div className="controls">
          {ATTRIBUTES.map((name) => (
            <Typed
              key={name}
              name={NAMES[name]}
              value={search[name] ?? ""}
              say={typed(name)}
              known={named(users, name)}
            />
          ))}
          <Typed
            name="Open alert of rule"
            value={search.rule ?? ""}
            say={typed("rule")}
            known={rules}
          />
          <Choice
            name="Cancelled"
            options={SHOWN}
            value={search.cancelled ?? "exclude"}
            choose={(chosen) => change({ cancelled: chosen === "exclude" ? undefined : chosen })}
          />
          <Choice
            name="Lapsed"
            options={SHOWN}
            value={search.lapsed ?? "exclude"}
            choose={(chosen) => change({ lapsed: chosen === "exclude" ? undefined : chosen })}
          />
          <Choice
            name="Little evidence"
            options={EVIDENCE}
            value={search.evidence ?? "enough"}
            choose={(chosen) => change({ evidence: chosen === "enough" ? undefined : chosen })}
          />
        </div>
      </details>
    </div>
  );
}

function risk({ min_risk, max_risk }: AtRiskSearch): string {
  return `${min_risk ?? ""}-${max_risk ?? ""}`;
}

function spanned(span: string): string {
  const [least = "", below = ""] = span.split("-");
  if (below === "") return `${percent(Number(least))} and more`;
  return least === ""
    ? `Below ${percent(Number(below))}`
    : `${percent(Number(least))} to ${percent(Number(below))}`;
}

/** The options, and the one an address came with. */
function known(
  options: readonly Option<string>[],
  value: string,
  label: (value: string) => string,
): readonly Option<string>[] {
  return options.some((option) => option.value === value)
    ? options
    : [...options, { value, label: label(value) }];
}
