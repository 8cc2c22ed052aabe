/** Which page an address shows, and what of its state the address holds. */
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";
import {
  alertsQuery,
  clockQuery,
  metricsQuery,
  modelQuery,
  readyQuery,
  userQuery,
} from "./api/queries.ts";
import { Frame } from "./parts/Frame.tsx";
import { Broken, Lost } from "./parts/States.tsx";
import { alertsSearch, atRiskSearch, userSearch } from "./search.ts";

const root = createRootRouteWithContext<{ queries: QueryClient }>()({
  component: Frame,
  notFoundComponent: Lost,
  // Asked beside the page's code, not after it. What fails is said by the parts that show it.
  loader: ({ context: { queries } }) => {
    void queries.prefetchQuery(clockQuery);
    void queries.prefetchQuery(modelQuery);
  },
});

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/at-risk", search: {} });
  },
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
  component: lazyRouteComponent(() => import("./pages/Model.tsx"), "Model"),
});

const system = createRoute({
  getParentRoute: () => root,
  path: "/system",
  loader: ({ context: { queries } }) => {
    void queries.prefetchQuery(readyQuery);
    void queries.prefetchQuery(metricsQuery);
  },
  component: lazyRouteComponent(() => import("./pages/System.tsx"), "System"),
});

const tryIt = createRoute({
  getParentRoute: () => root,
  path: "/try",
  component: lazyRouteComponent(() => import("./pages/TryIt.tsx"), "TryIt"),
});

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: root.addChildren([home, atRisk, user, alerts, model, system, tryIt]),
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
