/** Which page an address shows, and what of its state the address holds. */
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
} from "@tanstack/react-router";
import {
  alertsQuery,
  clockQuery,
  metricsQuery,
  modelQuery,
  populationQuery,
  userQuery,
} from "./api/queries.ts";
import { driftQuery, qualityQuery, systemQuery } from "./api/machine.ts";
import { sessionQuery } from "./api/session.ts";
import { Frame } from "./parts/Frame.tsx";
import { Broken, Lost } from "./parts/States.tsx";
import {
  alertsSearch,
  atRiskSearch,
  modelSearch,
  nowSearch,
  auditSearch,
  systemSearch,
  userSearch,
} from "./search.ts";

const root = createRootRouteWithContext<{ queries: QueryClient }>()({
  component: Frame,
  notFoundComponent: Lost,
  // Asked beside the page's code, not after it. What fails is said by the parts that show it.
  loader: ({ context: { queries } }) => {
    void queries.prefetchQuery(sessionQuery);
    void queries.prefetchQuery(clockQuery);
    void queries.prefetchQuery(modelQuery);
  },
});

const now = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: nowSearch,
  loaderDeps: ({ search }) => ({ range: search.range ?? "week" }),
  loader: ({ context: { queries }, deps: { range } }) => {
    void queries.prefetchQuery(populationQuery(range));
    void queries.prefetchQuery(alertsQuery);
  },
  component: lazyRouteComponent(() => import("./pages/Now.tsx"), "Now"),
});

const atRisk = createRoute({
  getParentRoute: () => root,
  path: "/at-risk",
  validateSearch: atRiskSearch,
  component: lazyRouteComponent(() => import("./pages/AtRisk.tsx"), "AtRisk"),
});

const user = createRoute({
  getParentRoute: () => root,
  // Not in the path: "..", "/" and line breaks are good names for a user.
  path: "/user",
  validateSearch: userSearch,
  loaderDeps: ({ search }) => ({ id: search.id }),
  loader: ({ context: { queries }, deps: { id } }) => {
    if (id !== undefined) void queries.prefetchQuery(userQuery(id));
  },
  component: lazyRouteComponent(() => import("./pages/User.tsx"), "User"),
});

const alerts = createRoute({
  getParentRoute: () => root,
  path: "/alerts",
  validateSearch: alertsSearch,
  loader: ({ context: { queries } }) => void queries.prefetchQuery(alertsQuery),
  component: lazyRouteComponent(() => import("./pages/Alerts.tsx"), "Alerts"),
});

const model = createRoute({
  getParentRoute: () => root,
  path: "/model",
  validateSearch: modelSearch,
  loader: ({ context: { queries } }) => {
    void queries.prefetchQuery(qualityQuery);
    void queries.prefetchQuery(driftQuery);
  },
  component: lazyRouteComponent(() => import("./pages/Model.tsx"), "Model"),
});

const system = createRoute({
  getParentRoute: () => root,
  path: "/system",
  validateSearch: systemSearch,
  loader: ({ context: { queries } }) => {
    void queries.prefetchQuery(systemQuery);
    void queries.prefetchQuery(metricsQuery);
  },
  component: lazyRouteComponent(() => import("./pages/System.tsx"), "System"),
});

const tryIt = createRoute({
  getParentRoute: () => root,
  path: "/try",
  component: lazyRouteComponent(() => import("./pages/TryIt.tsx"), "TryIt"),
});

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  component: lazyRouteComponent(() => import("./pages/Login.tsx"), "Login"),
});

const audit = createRoute({
  getParentRoute: () => root,
  path: "/audit",
  validateSearch: auditSearch,
  component: lazyRouteComponent(() => import("./pages/Audit.tsx"), "Audit"),
});

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: root.addChildren([now, atRisk, user, alerts, model, system, tryIt, login, audit]),
    basepath: "/app",
    context: { queries },
    defaultPreload: "intent",
    defaultErrorComponent: Broken,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
