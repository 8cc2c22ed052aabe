/** Records that could not be used: why, from where, and what they were. */
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { deadLettersQuery, type DeadLetter, type Shown, type SystemPage } from "../api/machine.ts";
import { TOPICS, type Topic } from "../api/topics.ts";
import { Choice } from "../parts/Choice.tsx";
import { Moment } from "../parts/Moment.tsx";
import { Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import type { SystemSearch } from "../search.ts";
import { count, number } from "../words/numbers.ts";
import { ReplayMany, ReplayOne } from "./Replay.tsx";

export function DeadLetters({ parked }: { parked: SystemPage["dead_letters"] }) {
  const { topic = "activity-event", reason = "", after } = useSearch({ from: "/system" });
  const navigate = useNavigate({ from: "/system" });
  const { data, error, refetch } = useQuery(deadLettersQuery(topic, reason, after));
  const records = new Map((parked ?? []).map((each) => [each.topic, each.records]));
  const named = (each: Topic) => {
    const there = records.get(each) ?? 0;
    return there === 0 ? each : `${each} (${number(there)})`;
  };
  return (
    <Panel
      title="Dead letters"
      className="full"
      note="What could not be used is kept as it came, with its reason, until it is sent back, corrected where that is needed."
    >
      <div className="controls">
        <Choice
          name="Topic"
          options={TOPICS.map((each) => ({ value: each, label: named(each) }))}
          value={topic}
          choose={(chosen) =>
            void navigate({
              search: of(chosen),
              resetScroll: false,
            })
          }
        />
        <form
          className="field"
          role="search"
          onSubmit={(event) => {
            event.preventDefault();
            const given = new FormData(event.currentTarget).get("reason");
            const said = typeof given === "string" ? given.trim() : "";
            void navigate({
              search: { ...of(topic), ...(said !== "" && { reason: said }) },
              resetScroll: false,
            });
          }}
        >
          <label htmlFor="letter-reason">Reason contains</label>
          <input id="letter-reason" name="reason" key={reason} defaultValue={reason} />
        </form>
      </div>
      {data === undefined ? (
        error === null ? (
          <Loading lines={3} />
        ) : (
          <Failure error={error} again={() => void refetch()} />
        )
      ) : (
        <>
          {error !== null && (
            <p className="banner lost">They cannot be read now: {error.message}.</p>
          )}
          {data.reasons.length > 1 && (
            <ul className="chips" aria-label="Reasons, the most frequent first">
              {data.reasons.map((each) => (
                <li key={each.reason}>
                  <Link
                    from="/system"
                    to="/system"
                    search={{ ...of(topic), reason: beginning(each.reason) }}
                    className="chip"
                    resetScroll={false}
                  >
                    {each.reason} <strong>{number(each.letters)}</strong>
                    {each.replayed > 0 && ` (${number(each.replayed)} sent back)`}
                  </Link>
                </li>
              ))}
            </ul>
          )}
          {data.letters.length > 0 && (
            <ReplayMany topic={topic} reason={reason} partitions={partitionsOf(data.letters)} />
          )}
          {data.letters.length === 0 ? (
            <Empty title={reason === "" ? "No dead letters" : "None with such a reason"} />
          ) : (
            <ul className="letters">
              {data.letters.map((letter) => (
                <li key={letter.id}>
                  <Letter topic={topic} letter={letter} />
                </li>
              ))}
            </ul>
          )}
          <p className="note">
            {count(data.found, "letter")} among the latest {count(data.looked_at, "record")}
            {data.looked_at < data.of_records &&
              ` of ${number(data.of_records)}; \`ebbtide dead-letters list\` shows all`}
            {data.is_whole ? "" : "; the look was cut short, so the latest may be missing"}.
          </p>
          <nav className="paging" aria-label="Pages of dead letters">
            {after !== undefined && (
              <Link
                from="/system"
                to="/system"
                search={{ ...of(topic), ...(reason !== "" && { reason }) }}
                className="step"
                resetScroll={false}
              >
                First page
              </Link>
            )}
            {data.next !== null && (
              <Link
                from="/system"
                to="/system"
                search={{ ...of(topic), ...(reason !== "" && { reason }), after: data.next }}
                className="step"
                resetScroll={false}
              >
                Older
              </Link>
            )}
          </nav>
        </>
      )}
    </Panel>
  );
}

const of = (topic: Topic): SystemSearch => ({
  part: "letters",
  ...(topic !== "activity-event" && { topic }),
});

const partitionsOf = (letters: readonly DeadLetter[]): number[] =>
  [...new Set(letters.map((each) => each.partition))].sort((a, b) => a - b);

/** Numbers in a kind of reason stand for any: what is before them is what can be looked for. */
const beginning = (kind: string): string => kind.split("#")[0]?.trim() ?? kind;

function Letter({ topic, letter }: { topic: Topic; letter: DeadLetter }) {
  return (
    <details>
      <summary>
        <span className="why">{letter.reason}</span>{" "}
        <span className="note">
          {letter.replayed && <span className="chip">sent back</span>}{" "}
          {letter.log_time === null ? "at no date" : <Moment at={letter.log_time} />}
        </span>
      </summary>
      <dl className="about">
        <dt>Letter</dt>
        <dd>
          <code>{letter.id}</code>
        </dd>
        <dt>Came from</dt>
        <dd>
          partition {letter.partition}, offset {letter.offset}, log {letter.log_number}
        </dd>
        <dt>Key</dt>
        <dd>
          <Bytes shown={letter.key} />
        </dd>
        {letter.headers.map((header, i) => (
          <Header key={i} name={header.name} value={header.value} />
        ))}
        <dt>Value</dt>
        <dd>
          <Bytes shown={letter.value} />
        </dd>
      </dl>
      <ReplayOne topic={topic} letter={letter} />
    </details>
  );
}

function Header({ name, value }: { name: string; value: Shown | null }) {
  return (
    <>
      <dt>
        Header <code>{name}</code>
      </dt>
      <dd>
        <Bytes shown={value} />
      </dd>
    </>
  );
}

/** Whatever somebody sent, as text or digits; never as markup. */
function Bytes({ shown }: { shown: Shown | null }) {
  if (shown === null) return <span className="note">none</span>;
  return (
    <>
      <pre dir="ltr" tabIndex={0}>
        {shown.text ?? shown.hex}
      </pre>
      <span className="note">
        {count(shown.size, "byte")}
        {shown.text === null && ", not text"}
        {shown.is_cut && "; the first 4,096 are shown"}
      </span>
    </>
  );
}
