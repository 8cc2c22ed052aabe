/** A page's heading, and panels on it. */
import { useEffect, useId, type ReactNode } from "react";

export function Page({
  title,
  heading = title,
  lead,
  aside,
  children,
}: {
  title: string;
  heading?: ReactNode;
  lead?: ReactNode;
  aside?: ReactNode;
  children: ReactNode;
}) {
  useEffect(() => {
    document.title = `${title} · Ebbtide`;
  }, [title]);
  return (
    <article className="page">
      <header className="head">
        <div>
          <h1>{heading}</h1>
          {lead !== undefined && <p className="lead">{lead}</p>}
        </div>
        {aside}
      </header>
      {children}
    </article>
  );
}

export function Panel({
  title,
  note,
  className = "",
  children,
}: {
  title: string;
  note?: ReactNode;
  className?: string;
  children: ReactNode;
}) {
  const id = useId();
  return (
    <section className={`panel ${className}`} aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {note !== undefined && <p className="note">{note}</p>}
      {children}
    </section>
  );
}

export function Figure({
  name,
  value,
  note,
}: {
  name: string;
  value: ReactNode;
  note?: ReactNode;
}) {
  return (
    <div className="figure">
      <dt>{name}</dt>
      <dd>
        <span className="value">{value}</span>
        {note !== undefined && <span className="note">{note}</span>}
      </dd>
    </div>
  );
}
