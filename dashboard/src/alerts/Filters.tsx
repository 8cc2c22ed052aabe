/** What the lists of alerts can be narrowed to; all of it is in the address. */
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useId, type ReactNode } from "react";
import { policyQuery } from "../api/alertQueries.ts";
import { SEVERITIES, type AlertsSearch } from "../search.ts";

/** Change some of the address and keep the rest of it. */
export function useNarrow(): (
  change: Partial<Record<keyof AlertsSearch, string | undefined>>,
) => void {
  const navigate = useNavigate({ from: "/alerts" });
  return (change) =>
    void navigate({
      search: (before) =>
        Object.fromEntries(
          Object.entries({ ...before, ...change }).filter(([, value]) => value !== undefined),
        ) as AlertsSearch,
      replace: true,
      resetScroll: false,
    });
}

export function Choice({
  name,
  value,
  options,
  onChoose,
}: {
  name: string;
  value: string | undefined;
  options: readonly (readonly [string, string])[];
  onChoose: (value: string | undefined) => void;
}) {
  const id = useId();
  return (
    <span className="choice">
      <label htmlFor={id}>{name}</label>
      <select
        id={id}
        className="select"
        value={value ?? ""}
        onChange={({ target }) => onChoose(target.value === "" ? undefined : target.value)}
      >
        <option value="">All</option>
        {options.map(([of, words]) => (
          <option key={of} value={of}>
            {words}
          </option>
        ))}
      </select>
    </span>
  );
}

/** Rule, severity and user, for lists of alerts. */
export function Filters({ search, children }: { search: AlertsSearch; children?: ReactNode }) {
  const narrow = useNarrow();
  const { data: policy } = useQuery(policyQuery);
  const rules = new Set(policy?.rules.map(({ name }) => name));
  if (search.rule !== undefined) rules.add(search.rule);
  return (
    <div className="controls narrow">
      {children}
      {(rules.size > 1 || search.rule !== undefined) && (
        <Choice
          name="Rule"
          value={search.rule}
          options={[...rules].map((rule) => [rule, rule] as const)}
          onChoose={(rule) => narrow({ rule })}
        />
      )}
      <Choice
        name="Severity"
        value={search.severity}
        options={SEVERITIES.map((each) => [each, each] as const)}
        onChoose={(severity) => narrow({ severity })}
      />
      {search.user !== undefined && (
        <button type="button" className="quiet" onClick={() => narrow({ user: undefined })}>
          Only <span className="id">{search.user}</span> · show all
        </button>
      )}
    </div>
  );
}
