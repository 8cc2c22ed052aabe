/** Rows of figures under their names. */
import type { ReactNode } from "react";

export interface Column<T> {
  readonly name: ReactNode;
  readonly of: (row: T) => ReactNode;
  /** `row` names its row; a `number` stands at the right, a `meter` is `Bar`s. */
  readonly as?: "row" | "row number" | "number" | "meter";
  /** Whether what is in the cell is bad news. */
  readonly isBad?: (row: T) => boolean;
}

export function Table<T>({
  columns,
  rows,
  className = "",
  rowClass,
}: {
  columns: readonly Column<T>[];
  rows: readonly T[];
  className?: string;
  rowClass?: (row: T) => string;
}) {
  return (
    <table className={`plain ${className}`}>
      <thead>
        <tr>
          {columns.map(({ name, as }, i) => (
            <th key={i} scope="col" className={alignment(as)}>
              {as === "meter" ? <span className="unseen">As a bar</span> : name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row, at) => (
          <tr key={at} className={rowClass?.(row)}>
            {columns.map(({ of, as, isBad }, i) => {
              const found = [alignment(as), isBad?.(row) === true ? "bad" : ""].join(" ").trim();
              return as?.startsWith("row") === true ? (
                <th key={i} scope="row" className={found}>
                  {of(row)}
                </th>
              ) : (
                <td key={i} className={found}>
                  {of(row)}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function alignment(as: Column<unknown>["as"]): string {
  if (as === "meter") return "of-meter";
  return as === "number" || as === "row number" ? "of-number" : "";
}

/** What may be wider than the page: it is scrolled by itself, by keyboard, too. */
export function Scroll({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="scroll" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

/** A part of the width, in words beside it. `from` and `to`: shares of the width. */
export function Bar({
  from = 0,
  to,
  children,
}: {
  from?: number;
  to: number;
  children?: ReactNode;
}) {
  return (
    <svg className="meter" aria-hidden="true" focusable="false">
      {children}
      <rect x={`${from * 100}%`} width={`${(to - from) * 100}%`} height="100%" rx="2" />
    </svg>
  );
}
