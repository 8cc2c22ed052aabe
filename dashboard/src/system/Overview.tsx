/** The servers we need, who works, and how far behind they are. */
import type { SystemPage, TopicLag, Worker } from "../api/machine.ts";
import { Moment } from "../parts/Moment.tsx";
import { Panel } from "../parts/Page.tsx";
import { Empty } from "../parts/States.tsx";
import { bytes, number, seconds } from "../words/numbers.ts";
import {
  doing,
  LATE_SECONDS,
  lagSaid,
  lasting,
  LONG_LAG,
  timerSaid,
  workerHealth,
  workerSaid,
} from "./machine.ts";

export function Dependencies({ page }: { page: SystemPage }) {
  const { kafka, redis } = page;
  return (
    <Panel title="Dependencies">
      <ul className="dependencies">
        <Dependency name="Gateway" state="ok" note={`Predicts with ${page.model}.`} />
        <Dependency
          name="Kafka"
          state={kafka.state}
          answers={kafka.seconds}
          note="Without it events are refused, and alerts stand still."
        />
        <Dependency
          name="Redis"
          state={redis.state}
          answers={redis.seconds}
          note={[
            redis.version,
            redis.memory_bytes === null
              ? null
              : `${bytes(redis.memory_bytes)} used${redis.memory_limit_bytes === null ? "" : ` of ${bytes(redis.memory_limit_bytes)}`}`,
            "Without it users and alerts cannot be shown.",
          ]
            .filter((each) => each !== null)
            .join(" · ")}
        />
      </ul>
    </Panel>
  );
}

function Dependency({
  name,
  state,
  answers = null,
  note,
}: {
  name: string;
  state: string;
  answers?: number | null;
  note: string;
}) {
  return (
    <li className={state === "ok" ? "ok" : "away"}>
      <span className="dot" aria-hidden="true" />
      <strong>{name}</strong>
      <span>
        {state}
        {answers !== null && <span className="note"> in {seconds(answers)}</span>}
      </span>
      <span className="note">{note}</span>
    </li>
  );
}

export function Workers({ page }: { page: SystemPage }) {
  const { workers, missing } = page;
  return (
    <Panel
      title="Workers"
      note="Each tells of itself every 5 seconds; who has not for 15 is called silent, after 15 minutes forgotten."
    >
      {workers === null ? (
        <Empty title="Not known">
          <p>Workers tell of themselves in Redis, which does not answer.</p>
        </Empty>
      ) : workers.length + missing.length === 0 ? (
        <Empty title="Nobody has told of itself yet" />
      ) : (
        <ul className="dependencies workers">
          {workers.map((worker) => (
            <WorkerItem key={worker.id} worker={worker} />
          ))}
          {missing.map((service) => (
            <li key={service} className="away">
              <span className="dot" aria-hidden="true" />
              <strong>{service}</strong>
              <span>not running</span>
              <span className="note">Nobody was heard of for 15 minutes, or ever.</span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function WorkerItem({ worker }: { worker: Worker }) {
  return (
    <li className={workerHealth(worker)}>
      <span className="dot" aria-hidden="true" />
      <strong>{worker.service}</strong>
      <span>{workerSaid(worker)}</span>
      <span className="note">
        {doing(worker) !== "" && `${doing(worker)} · `}
        {number(worker.partitions)} {worker.partitions === 1 ? "partition" : "partitions"} · since{" "}
        <Moment at={worker.since} by="viewer" /> ·{" "}
        <span title={`version ${worker.version}, process ${worker.pid}`}>{worker.host}</span>
      </span>
    </li>
  );
}

export function Lag({ page }: { page: SystemPage }) {
  return (
    <Panel
      title="Lag"
      className="full"
      note="Records between what Redis holds the effects of and where the log ends: from the stored watermarks, not from what consumers committed."
    >
      <ul className="topics">
        {page.topics.map((topic) => (
          <li key={`${topic.topic} ${topic.ledger}`}>
            <TopicItem topic={topic} />
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function TopicItem({ topic }: { topic: TopicLag }) {
  const long = topic.lag !== null && topic.lag >= LONG_LAG;
  return (
    <details>
      <summary>
        <code>{topic.topic}</code> <span className="note">to {topic.service}</span>{" "}
        <strong className={long ? "bad" : ""}>{lagSaid(topic)}</strong>
      </summary>
      <div
        className="scroll"
        role="region"
        aria-label={`Partitions of ${topic.topic} to ${topic.service}`}
        tabIndex={0}
      >
        <table className="plain">
          <thead>
            <tr>
              <th scope="col" className="of-number">
                Partition
              </th>
              <th scope="col" className="of-number">
                Unread
              </th>
              <th scope="col" className="of-number">
                Watermark
              </th>
              <th scope="col" className="of-number">
                End
              </th>
              <th scope="col">Newest handled</th>
              <th scope="col">In the hands of</th>
            </tr>
          </thead>
          <tbody>
            {topic.partitions.map((each) => (
              <tr key={each.partition}>
                <th scope="row" className="of-number">
                  {each.partition}
                </th>
                <td className="of-number">{each.lag === null ? "?" : number(each.lag)}</td>
                <td className="of-number">{each.watermark ?? "none"}</td>
                <td className="of-number">{each.end ?? "?"}</td>
                <td>{each.newest === null ? "" : <Moment at={each.newest} />}</td>
                <td>
                  {each.held !== null ? (
                    <span className="bad">waits for a person at {each.held}</span>
                  ) : each.worker === null ? (
                    <span className="note">nobody</span>
                  ) : (
                    <>
                      {each.worker} <span className="note">{each.stage}</span>
                      {each.refusal !== null && <span className="bad"> {each.refusal}</span>}
                    </>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

export function Timers({ page }: { page: SystemPage }) {
  return (
    <Panel
      title="Timers"
      note={
        page.clock === "wall"
          ? "Silence is noticed by timers. While a backlog is read they wait, so that nobody is called silent whose return lies in it."
          : "Silence is noticed by timers, and time here is the log's."
      }
    >
      {page.timers === null ? (
        <Empty title="Not known">
          <p>They lie in Redis, which does not answer.</p>
        </Empty>
      ) : page.timers.length === 0 ? (
        <Empty title="No timer yet" />
      ) : (
        <ul className="dependencies">
          {page.timers.map((timers) => (
            <li key={timers.kind} className={timers.overdue_seconds > LATE_SECONDS ? "away" : "ok"}>
              <span className="dot" aria-hidden="true" />
              <strong>{timers.kind === "silence" ? "Silence" : "Alerts"}</strong>
              <span>{timerSaid(timers)}</span>
              <span className="note">
                {number(timers.waiting)} waiting
                {timers.earliest !== null && (
                  <>
                    , the first due <Moment at={timers.earliest} />
                  </>
                )}
                {timers.overdue_seconds > 0 &&
                  timers.overdue_seconds <= LATE_SECONDS &&
                  `, ${lasting(timers.overdue_seconds)} ago`}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
