/** The audit log as people read it. */

export interface Told {
  what: string;
  /** Of what it was done; empty where that is nobody else. */
  whom: string;
}

const WORDS: Readonly<Record<string, string>> = {
  login: "logged in",
  logout: "logged out",
  "DELETE /users/{user_id}": "erased a user",
  "POST /alerts/{alert_id}/acknowledge": "took an alert on",
  "POST /alerts/{alert_id}/snooze": "put an alert off",
  "POST /alerts/{alert_id}/verdict": "judged an alert",
  "POST /deliveries/{delivery_id}/resend": "sent a delivery again",
  "POST /storm/release": "released a storm",
  "POST /storm/discard": "discarded a storm",
  "POST /dead-letters/replay": "sent dead letters back",
  "POST /dead-letters/accept": "let a partition go on",
  "GET /users.csv": "exported the list of users",
  "GET /users": "read the list of users",
  "GET /alerts": "read alerts",
  "GET /deliveries": "read deliveries",
};

/** What was done, in words where there are some; the request itself else. */
export function told(act: { action: string; target: string }): Told {
  const what = WORDS[act.action];
  if (what === undefined) return { what: act.action, whom: act.target };
  const [, , ...rest] = act.target.split("/");
  const whom = act.action.startsWith("DELETE") ? rest.join("/") : (rest[0] ?? "");
  return { what, whom: act.action.includes("{") ? whom : "" };
}

/** What came of it. */
export function outcome(status: number): { words: string; good: boolean } {
  if (status < 300) return { words: "done", good: true };
  if (status === 403) return { words: "not allowed", good: false };
  if (status === 404) return { words: "nothing there", good: false };
  if (status === 503) return { words: "could not be done", good: false };
  return { words: `refused (${status})`, good: false };
}
