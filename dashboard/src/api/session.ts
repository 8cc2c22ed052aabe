/** Who looks, and what they may. */
import { queryOptions, useQuery, type QueryClient } from "@tanstack/react-query";
import { body, gateway, Refused, type Schemas } from "./client.ts";

export type Session = Schemas["SessionPage"];
export type Scope = Session["scopes"][number];

const STRANGER: Session = {
  needs_key: true,
  name: null,
  via: null,
  scopes: [],
  expires_at: null,
};

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: ({ signal }) => body(gateway.GET("/session", { signal })),
  staleTime: 60_000,
  refetchInterval: 60_000,
});

/** Whether nobody has said who looks at a gateway that wants to know. */
export function isStranger(session: Session | undefined): boolean {
  return session !== undefined && session.needs_key && session.name === null;
}

/** Whether the viewer may; where nobody can be asked, the gateway decides when it is tried. */
export function may(session: Session | undefined, scope: Scope, failed: boolean): boolean {
  return session === undefined ? failed : session.scopes.includes(scope);
}

export function useMay(scope: Scope): boolean {
  const { data, isError } = useQuery(sessionQuery);
  return may(data, scope, isError);
}

/** After the key: everything that was refused is asked for again. */
export async function logIn(queries: QueryClient, key: string): Promise<void> {
  const session = await body(gateway.POST("/session", { body: { key } }));
  queries.setQueryData(sessionQuery.queryKey, session);
  await queries.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== "session" });
}

/** Ends the session and forgets what was seen, also where the gateway cannot end it elsewhere. */
export async function logOut(queries: QueryClient): Promise<void> {
  const { response, error } = await gateway.DELETE("/session");
  if (!response.ok && response.status !== 503)
    throw await body(Promise.resolve({ response, error }));
  forget(queries);
}

function forget(queries: QueryClient): void {
  queries.setQueryData(sessionQuery.queryKey, STRANGER);
  queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "session" });
}

/** What to do with any failure: a session that has ended is noticed by whoever asks first. */
export function noticeStranger(queries: QueryClient, error: unknown): void {
  if (error instanceof Refused && error.status === 401) {
    void queries.invalidateQueries({ queryKey: sessionQuery.queryKey });
  }
}
