/** Parts of a page, one shown at a time: links, for which one it is stands in the address. */
import { Link } from "@tanstack/react-router";
import { useEffect, useRef, type ReactNode } from "react";
import type { ModelSearch, SystemSearch } from "../search.ts";

type Tab<Search> = {
  search: Search;
  name: string;
  isCurrent: boolean;
  /** How much there is of it. */
  many?: ReactNode;
};

type Tabs =
  | { to: "/model"; tabs: readonly Tab<ModelSearch>[] }
  | { to: "/system"; tabs: readonly Tab<SystemSearch>[] };

export function Tabs({ to, tabs }: Tabs) {
  const list = useRef<HTMLUListElement>(null);
  const current = tabs.findIndex(({ isCurrent }) => isCurrent);
  useEffect(() => {
    // Where not all fit beside each other, the current one is seen.
    const [all, tab] = [list.current, list.current?.children[current]];
    if (all && tab instanceof HTMLElement) all.scrollLeft = tab.offsetLeft - all.offsetLeft - 24;
  }, [current]);
  return (
    <nav className="tabs" aria-label="Parts of this page">
      <ul ref={list}>
        {tabs.map(({ search, name, isCurrent, many }) => (
          <li key={name}>
            <Link
              to={to}
              search={search}
              resetScroll={false}
              // Filters do not make it another part, so the router is not asked which is current.
              activeOptions={{ exact: true, includeSearch: true }}
              aria-current={isCurrent ? "page" : undefined}
            >
              {name}
              {many !== undefined && <span className="many">{many}</span>}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
