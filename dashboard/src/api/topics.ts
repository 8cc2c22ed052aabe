/** Topics that have dead letters. */
export const TOPICS = ["activity-event", "churn-score", "alert-command", "churn-alert"] as const;
export type Topic = (typeof TOPICS)[number];
