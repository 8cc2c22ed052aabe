/** One of a few, as links: what is chosen is in the address of the Model page. */
import { Link } from "@tanstack/react-router";
import type { ModelSearch } from "../search.ts";

export function Options<T extends string>({
  label,
  field,
  options: [usual, ...others],
  name,
  chosen,
}: {
  label: string;
  field: "moments" | "order";
  /** The first is not written in the address. */
  options: readonly T[];
  name: (option: T) => string;
  chosen: T;
}) {
  return (
    <nav aria-label={label} className="orders">
      {(usual === undefined ? [] : [usual, ...others]).map((each) => (
        <Link
          key={each}
          from="/model"
          to="/model"
          search={({ [field]: _, ...before }): ModelSearch =>
            each === usual ? before : { ...before, [field]: each }
          }
          replace
          resetScroll={false}
          className="chip"
          aria-current={each === chosen ? "true" : undefined}
        >
          {name(each)}
        </Link>
      ))}
    </nav>
  );
}
