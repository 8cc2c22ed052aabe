/** A page's other faces: nothing yet, nothing there, something wrong. */
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { Refused, Unreachable } from "../api/client.ts";

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <svg viewBox="0 0 120 40" aria-hidden="true" focusable="false">
        <path d="M2 14c10 0 10 7 19 7s10-7 19-7 10 7 19 7 10-7 19-7 10 7 19 7 10-7 20-7" />
        <path d="M2 28c10 0 10 7 19 7s10-7 19-7 10 7 19 7 10-7 19-7 10 7 19 7 10-7 20-7" />
      </svg>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Failure({ error, again }: { error: Error; again?: () => void }) {
  return (
    <div className="empty failure" role="alert">
      <h2>{error.message}</h2>
      <p>{explained(error)}</p>
      {again !== undefined && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

function explained(error: Error): string {
  if (error instanceof Refused) return error.detail;
  if (error instanceof Unreachable)
    return "Is `ebbtide up` running? This page tries again by itself.";
  return "Something in this page went wrong.";
}

/** Room for what is coming, so that nothing jumps when it comes. */
export function Loading({ lines = 8 }: { lines?: number }) {
  return (
    <div className="loading" role="status">
      <span className="unseen">Loading</span>
      {Array.from({ length: lines }, (_, line) => (
        <div key={line} className="line" aria-hidden="true" />
      ))}
    </div>
  );
}

export function Lost() {
  return (
    <Empty title="There is no such page">
      <p>
        <Link to="/at-risk" search={{}}>
          See who is at risk
        </Link>
      </p>
    </Empty>
  );
}

export function Broken({ error, reset }: { error: unknown; reset: () => void }) {
  return (
    <Failure error={error instanceof Error ? error : new Error(String(error))} again={reset} />
  );
}
