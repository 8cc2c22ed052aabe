"""Start the scorer: read the settings, load the model, own partitions until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from contracts.default_rule import first_stated
from contracts.times import MINUTE_MS
from contracts.topics import ACTIVITY, SCORES
from model import artefact
from model.reasons import Explainer
from runtime.handler import Opening, OpenPartition
from runtime.records import RecordStore
from runtime.service import Parts, Work, run, work
from runtime.settings import stated
from runtime.timers import TimerIndex
from scorer.activation import Activation
from scorer.handler import PartitionScorer, Tools
from scorer.judging import Judge
from scorer.messages import Explain, ScoreWriter, ScoringModel, unexplained
from scorer.names import Names
from scorer.settings import ScorerSettings

GROUP = "ebbtide-scorer"


async def serve(settings: ScorerSettings, stop: asyncio.Event) -> None:
    """Score until `stop` is set; raises Misconfigured when a person has to look."""
    model = artefact.load(settings.model_dir, trusted_sha256=settings.model_sha256)
    artefact.require_rules(model, settings.fold_rules)
    explainer = Explainer(model)
    # While it connects: the first question would else take seconds, with every partition waiting.
    prepared = asyncio.ensure_future(asyncio.to_thread(explainer.prepare))
    await score_with(model, settings, stop, explainer.reasons, prepared)


async def score_with(
    model: ScoringModel,
    settings: ScorerSettings,
    stop: asyncio.Event,
    explain: Explain = unexplained,
    prepared: Awaitable[None] | None = None,
) -> None:
    """Like `serve`, with a model already loaded; no partition is opened before `prepared`."""
    rules = settings.fold_rules

    async def prepare(parts: Parts) -> OpenPartition:
        names = Names(parts.redis)
        await names.load()
        if prepared is not None:
            await asyncio.shield(prepared)
        writer = ScoreWriter(
            model,
            first_stated(stated(settings.alert_threshold), model.alert_threshold),
            names.name,
            explain,
            settings.alert_least_active_days,
        )
        tools = Tools(
            judge=Judge(model, rules, writer, parts.metrics),
            ledger=parts.ledger,
            publisher=parts.publisher,
            dead_letters=parts.dead_letters,
            names=names,
            metrics=parts.metrics,
            record_ttl_ms=settings.record_ttl_ms,
        )
        stores: dict[int, RecordStore] = {}
        spread_ms = round(settings.model_spread_minutes * MINUTE_MS)

        async def open_partition(opening: Opening) -> PartitionScorer:
            partition, generation = opening.marks.partition, opening.marks.generation
            # One of each generation: what partitions load at the same time, it loads in one go.
            records = stores.setdefault(generation, RecordStore(parts.redis, generation))
            timers = TimerIndex(parts.redis, partition, generation)
            activation = Activation(parts.redis, partition, timers, model.version, spread_ms)
            return PartitionScorer(opening, tools, records, timers, activation)

        return open_partition

    job = Work(
        topic=ACTIVITY,
        group=GROUP,
        rules=rules.digest,
        topics=(ACTIVITY, SCORES),
        health_host=settings.health_host,
        health_port=settings.scorer_health_port,
        scores=True,
    )
    await work(settings, stop, job, prepare)


def main() -> int:
    """Run the scorer until a signal; returns the exit code (2: a person has to look)."""
    return run("scorer", ScorerSettings, serve)
