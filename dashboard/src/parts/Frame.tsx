/** What surrounds every page: navigation, where scores come from, and whether we are connected. */
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { isStranger, sessionQuery } from "../api/session.ts";
import { Clock } from "./Clock.tsx";
import { Connection } from "./Connection.tsx";
import { Icon, type IconName } from "./Icon.tsx";
import { LoginForm } from "./LoginForm.tsx";
import { useTimesShown, type TimesShown } from "./Moment.tsx";
import { Provenance } from "./Provenance.tsx";
import { keep, kept } from "./storage.ts";

const PAGES: readonly {
  to: "/" | "/at-risk" | "/alerts" | "/model" | "/system" | "/try";
  name: string;
  icon: IconName;
}[] = [
  { to: "/", name: "Now", icon: "now" },
  { to: "/at-risk", name: "At risk", icon: "wave" },
  { to: "/alerts", name: "Alerts", icon: "bell" },
  { to: "/model", name: "Model", icon: "curve" },
  { to: "/system", name: "System", icon: "pulse" },
  { to: "/try", name: "Try it", icon: "flask" },
];

export function Frame() {
  const { data: session } = useQuery(sessionQuery);
  useFocusOnNavigation();
  if (isStranger(session)) {
    // In place of the page, so that the address is still the one that was asked for.
    return (
      <main id="main" tabIndex={-1}>
        <LoginForm />
      </main>
    );
  }
  // Nothing is hidden from whom the gateway has not told us of.
  const predicts = session === undefined || session.scopes.includes("write");
  return (
    <div className="frame">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="side">
        <Link to="/" search={{}} className="brand" aria-label="Ebbtide, now">
          <Icon name="wave" /> <span>Ebbtide</span>
        </Link>
        <nav aria-label="Pages">
          <ul className="pages">
            {PAGES.filter(({ to }) => to !== "/try" || predicts).map(({ to, name, icon }) => (
              <li key={to}>
                <Link
                  to={to}
                  search={{}}
                  activeProps={{ "aria-current": "page" }}
                  activeOptions={{ includeSearch: false, exact: to === "/" }}
                >
                  <Icon name={icon} />
                  <span>{name}</span>
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        <div className="choices">
          {session?.via === "session" && (
            <Link to="/login" className="who">
              {session.name}
            </Link>
          )}
          <Clock />
          <TimesChoice />
          <ThemeChoice />
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <Connection />
        <Provenance />
        <Outlet />
      </main>
    </div>
  );
}

/** A new page begins at its heading, for whoever hears it rather than sees it. */
function useFocusOnNavigation() {
  const path = useRouterState({ select: (state) => state.resolvedLocation?.pathname });
  const first = useRef(true);
  useEffect(() => {
    if (path === undefined) return;
    if (first.current) {
      first.current = false;
      return;
    }
    document.getElementById("main")?.focus({ preventScroll: true });
  }, [path]);
}

function TimesChoice() {
  const { shown, show } = useTimesShown();
  return (
    <ToggleGroup
      className="toggles"
      aria-label="Times"
      value={[shown]}
      onValueChange={([chosen]) => show((chosen as TimesShown | undefined) ?? shown)}
    >
      <Toggle value="relative">Relative</Toggle>
      <Toggle value="exact">Exact</Toggle>
    </ToggleGroup>
  );
}

type Theme = "light" | "dark" | "system";

function ThemeChoice() {
  const [theme, setTheme] = useState<Theme>(() => {
    const stored = kept("theme");
    return stored === "light" || stored === "dark" ? stored : "system";
  });
  const choose = (chosen: Theme) => {
    if (chosen === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = chosen;
    keep("theme", chosen === "system" ? null : chosen);
    setTheme(chosen);
  };
  return (
    <ToggleGroup
      className="toggles"
      aria-label="Theme"
      value={[theme]}
      onValueChange={([chosen]) => choose((chosen as Theme | undefined) ?? theme)}
    >
      <Toggle value="light">Light</Toggle>
      <Toggle value="dark">Dark</Toggle>
      <Toggle value="system">System</Toggle>
    </ToggleGroup>
  );
}
