/** The servers we need, who works, and how far behind they are. */
import type { ReactNode } from "react";
import type { SystemPage, TopicLag, Worker } from "../api/machine.ts";
import { Moment } from "../parts/Moment.tsx";
import { Fold } from "../parts/Fold.tsx";
import { Panel } from "../parts/Page.tsx";
import { Empty } from "../parts/States.tsx";
import { Scroll, Table, type Column } from "../parts/Table.tsx";
import { bytes, count, number, seconds } from "../words/numbers.ts";
import {
  doing,
  LATE_SECONDS,
  lagSaid,
  lasting,
  LONG_LAG,
  timerSaid,
  workerHealth,
  workerSaid,
  type Health,
} from "./machine.ts";

export function Dependencies({ page }: { page: SystemPage }) {
  const { kafka, redis } = page;
  return (
    <Panel title="Dependencies">
      <ul className="dependencies">
        <Item health="ok" name="Gateway" said="ok">
          Predicts with {page.model}.
        </Item>
        <Dependency name="Kafka" asked={kafka}>
          Without it events are refused, and alerts stand still.
        </Dependency>
        <Dependency name="Redis" asked={redis}>
          {[
            redis.version,
            redis.memory_bytes === null
              ? null
              : `${bytes(redis.memory_bytes)} used${redis.memory_limit_bytes === null ? "" : ` of ${bytes(redis.memory_limit_bytes)}`}`,
            "Without it users and alerts cannot be shown.",
          ]
            .filter((each) => each !== null)
            .join(" · ")}
        </Dependency>
      </ul>
    </Panel>
  );
}

/** One of a list of what works, or does not. */
function Item({
  health,
  name,
  said,
  children,
}: {
  health: Health;
  name: string;
  said: ReactNode;
  children: ReactNode;
}) {
  return (
    <li className={health}>
      <span className="dot" aria-hidden="true" />
      <strong>{name}</strong>
      <span>{said}</span>
      <span className="note">{children}</span>
    </li>
  );
}

function Dependency({
  name,
  asked: { state, seconds: took },
  children,
}: {
  name: string;
  asked: Pick<SystemPage["kafka"], "state" | "seconds">;
  children: ReactNode;
}) {
  return (
    <Item
      health={state === "ok" ? "ok" : "away"}
      name={name}
      said={
        <>
          {state}
          {took !== null && <span className="note"> in {seconds(took)}</span>}
        </>
      }
    >
      {children}
    </Item>
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
            <Item key={service} health="away" name={service} said="not running">
              Nobody was heard of for 15 minutes, or ever.
            </Item>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function WorkerItem({ worker }: { worker: Worker }) {
  return (
    <Item health={workerHealth(worker)} name={worker.service} said={workerSaid(worker)}>
      {doing(worker) !== "" && `${doing(worker)} · `}
      {count(worker.partitions, "partition")} · since <Moment at={worker.since} by="viewer" /> ·{" "}
      <span title={`version ${worker.version}, process ${worker.pid}`}>{worker.host}</span>
    </Item>
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

type Partition = TopicLag["partitions"][number];

const PARTITIONS: readonly Column<Partition>[] = [
  { name: "Partition", as: "row number", of: ({ partition }) => partition },
  { name: "Unread", as: "number", of: ({ lag }) => (lag === null ? "?" : number(lag)) },
  { name: "Watermark", as: "number", of: ({ watermark }) => watermark ?? "none" },
  { name: "End", as: "number", of: ({ end }) => end ?? "?" },
  { name: "Newest handled", of: ({ newest }) => newest !== null && <Moment at={newest} /> },
  { name: "In the hands of", of: (partition) => <Holder {...partition} /> },
];

function TopicItem({ topic }: { topic: TopicLag }) {
  const long = topic.lag !== null && topic.lag >= LONG_LAG;
  return (
    <Fold
      summary={
        <>
          <code>{topic.topic}</code> <span className="note">to {topic.service}</span>{" "}
          <strong className={long ? "bad" : ""}>{lagSaid(topic)}</strong>
        </>
      }
    >
      <Scroll label={`Partitions of ${topic.topic} to ${topic.service}`}>
        <Table columns={PARTITIONS} rows={topic.partitions} />
      </Scroll>
    </Fold>
  );
}

function Holder({ held, worker, stage, refusal }: Partition) {
  if (held !== null) return <span className="bad">waits for a person at {held}</span>;
  if (worker === null) return <span className="note">nobody</span>;
  return (
    <>
      {worker} <span className="note">{stage}</span>
      {refusal !== null && <span className="bad"> {refusal}</span>}
    </>
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
            <Item
              key={timers.kind}
              health={timers.overdue_seconds > LATE_SECONDS ? "away" : "ok"}
              name={timers.kind === "silence" ? "Silence" : "Alerts"}
              said={timerSaid(timers)}
            >
              {number(timers.waiting)} waiting
              {timers.earliest !== null && (
                <>
                  , the first due <Moment at={timers.earliest} />
                </>
              )}
              {timers.overdue_seconds > 0 &&
                timers.overdue_seconds <= LATE_SECONDS &&
                `, ${lasting(timers.overdue_seconds)} ago`}
            </Item>
          ))}
        </ul>
      )}
    </Panel>
  );
}
