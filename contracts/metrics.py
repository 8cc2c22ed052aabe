"""Every metric name a dashboard or an alert rule may rely on."""

from __future__ import annotations

from enum import StrEnum


class Metric(StrEnum):
    """Names as Prometheus shows them; comments give type, labels and meaning."""

    REQUESTS = "ebbtide_http_requests_total"  # counter by route, status
    REQUEST_SECONDS = "ebbtide_http_request_seconds"  # histogram by route
    REQUESTS_SHED = "ebbtide_http_requests_shed_total"  # counter by route, reason: told to retry
    REQUESTS_REFUSED = "ebbtide_http_requests_refused_total"  # counter by reason: who may not
    EVENTS_ACCEPTED = "ebbtide_events_accepted_total"  # counter: acknowledged by Kafka
    EVENTS_REJECTED = "ebbtide_events_rejected_total"  # counter: refused with a reason
    SNAPSHOTS_DROPPED = "ebbtide_snapshots_dropped_total"  # counter: Kafka away, queue full
    COMMANDS = "ebbtide_alert_commands_total"  # counter by kind: acknowledged by Kafka
    LISTENERS = "ebbtide_alert_stream_clients"  # gauge: who follows /alerts/stream
    LISTENERS_DROPPED = "ebbtide_alert_stream_dropped_total"  # counter: too slow

    RECORDS = "ebbtide_records_total"  # counter by topic: read and folded
    BATCH_RECORDS = "ebbtide_batch_records"  # histogram by topic
    STAGE_SECONDS = "ebbtide_stage_seconds"  # histogram by stage of a batch
    RECORDS_PARKED = "ebbtide_records_parked_total"  # counter by topic: sent to the dead letters
    RECORDS_SKIPPED = "ebbtide_records_skipped_total"  # counter by topic: unreadable, passed over
    RECORDS_SENT_HOME = "ebbtide_records_sent_home_total"  # counter: keyed by another partitioner
    REFUSED_WRITES = "ebbtide_refused_writes_total"  # counter by topic: the store held another mark
    RESTARTS = "ebbtide_worker_restarts_total"  # counter: a stalled worker started itself again
    SCORES = "ebbtide_scores_total"  # counter by trigger
    ALERTS = "ebbtide_alerts_total"  # counter by kind
    POLICY_BROKEN = "ebbtide_alert_policy_broken"  # gauge: 1 while the policy file cannot be read
    CONSUMER_LAG = "ebbtide_consumer_lag_records"  # gauge by topic, partition
    CONSUMER_LAG_SECONDS = "ebbtide_consumer_lag_seconds"  # gauge by topic, partition
    SCORE_LAG_SECONDS = "ebbtide_score_lag_seconds"  # histogram: oldest of a batch, to now
    OLDEST_TIMER_SECONDS = "ebbtide_oldest_overdue_timer_seconds"  # gauge by partition

    DELIVERIES = "ebbtide_deliveries_total"  # counter by channel, outcome
    DELIVERY_ATTEMPTS = "ebbtide_delivery_attempts_total"  # counter by channel: failures included
    DELIVERY_REPEATS = "ebbtide_delivery_repeats_total"  # counter by channel: perhaps a second time
    DELIVERY_KNOWN = "ebbtide_delivery_known_alerts_total"  # counter: the alert came again
    DELIVERIES_HELD = "ebbtide_deliveries_held"  # gauge: held by the storm guard
