/** `/predict` by hand. */
import { Field } from "@base-ui/react/field";
import { Switch } from "@base-ui/react/switch";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { body, gateway, Refused, type PredictRequest, type Prediction } from "../api/client.ts";
import { ReasonBars } from "../charts/ReasonBars.tsx";
import { Page, Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";
import { percent } from "../words/numbers.ts";
import { curl, request, SEED, type Totals } from "./totals.ts";

const FIELDS: readonly (readonly [
  "pages_visited" | "time_spent" | "days_since_signup",
  string,
  string,
])[] = [
  ["pages_visited", "Pages visited", "since they signed up"],
  ["time_spent", "Time spent", "minutes, since they signed up"],
  ["days_since_signup", "Days since sign-up", "days"],
];

const PAUSE_MS = 150;

export function TryIt() {
  const [totals, setTotals] = useState<Totals>(SEED);
  const asked = useSettled(request(totals), PAUSE_MS);
  const { data, error } = useQuery({
    queryKey: ["predict", asked],
    queryFn: ({ signal }) =>
      body(
        gateway.POST("/predict", {
          params: { query: { explain: true } },
          body: asked as PredictRequest,
          signal,
        }),
      ),
    enabled: asked !== null,
    placeholderData: keepPreviousData,
    staleTime: Infinity,
  });
  const wrong = new Map(
    error instanceof Refused ? error.fields.map(({ field, reason }) => [field, reason]) : [],
  );
  return (
    <Page
      title="Try it"
      lead="Four totals of a user, scored at once by POST /predict. Nothing is stored."
    >
      <div className="columns">
        <Panel title="A user">
          <form className="form" onSubmit={(event) => event.preventDefault()}>
            {FIELDS.map(([name, label, unit]) => {
              const blank = request({ ...SEED, [name]: totals[name] }) === null;
              const reason = blank ? "a number, please" : wrong.get(name);
              return (
                <Field.Root key={name} name={name} invalid={reason !== undefined} className="field">
                  <Field.Label>{label}</Field.Label>
                  <Field.Control
                    inputMode="decimal"
                    value={totals[name]}
                    onValueChange={(value) => setTotals({ ...totals, [name]: value })}
                  />
                  <Field.Description className="note">{unit}</Field.Description>
                  {reason !== undefined && (
                    <Field.Error match className="wrong">
                      {reason}
                    </Field.Error>
                  )}
                </Field.Root>
              );
            })}
            <label className="switch">
              <Switch.Root
                checked={totals.is_logged_in}
                onCheckedChange={(checked) => setTotals({ ...totals, is_logged_in: checked })}
              >
                <Switch.Thumb />
              </Switch.Root>
              Logged in
            </label>
          </form>
        </Panel>
        <Panel title="The answer" className="wide">
          {data !== undefined && wrong.size === 0 ? (
            <Answer prediction={data} />
          ) : error !== null && wrong.size === 0 ? (
            <Failure error={error} />
          ) : wrong.size > 0 ? (
            <p>The gateway would refuse this: see the field marked.</p>
          ) : (
            <Loading lines={4} />
          )}
        </Panel>
        <Panel title="The same in a shell" className="full">
          <Shell asked={request(totals)} />
        </Panel>
      </div>
    </Page>
  );
}

function Answer({ prediction }: { prediction: Prediction }) {
  const { churn_probability: probability, explanation, horizon_days: horizon } = prediction;
  const churns = prediction.prediction === "1";
  return (
    <>
      <p className={`answer ${churns ? "high" : "calm"}`} role="status">
        <span className="value">{probability == null ? "" : percent(probability)}</span>
        <span>
          {churns ? "will churn" : "will stay"}, says the model: prediction “{prediction.prediction}
          ”, confidence {prediction.confidence.toFixed(2)}
          {horizon == null ? "" : `, within ${horizon} days`}.
        </span>
      </p>
      {explanation != null && <ReasonBars explanation={explanation} />}
    </>
  );
}

function Shell({ asked }: { asked: PredictRequest | null }) {
  const [copied, setCopied] = useState(false);
  if (asked === null) return <p className="note">Once every field holds a number.</p>;
  const line = curl(window.location.origin, asked);
  return (
    <div className="shell">
      <pre tabIndex={0} aria-label="Command line">
        {line}
      </pre>
      {/* Browsers hand out the clipboard on loopback and over TLS only. */}
      {"clipboard" in navigator && (
        <button
          type="button"
          onClick={() => void navigator.clipboard.writeText(line).then(() => setCopied(true))}
          onBlur={() => setCopied(false)}
        >
          {copied ? "Copied" : "Copy"}
        </button>
      )}
    </div>
  );
}

/** The value once it has not changed for a while: not every keystroke is a question. */
function useSettled<T>(value: T, ms: number): T {
  const [settled, setSettled] = useState(value);
  const text = JSON.stringify(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(JSON.parse(text) as T), ms);
    return () => clearTimeout(timer);
  }, [text, ms]);
  return settled;
}
