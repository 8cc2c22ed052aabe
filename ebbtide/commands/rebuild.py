"""`ebbtide rebuild`: forget what was folded; the scorers then fold the log from its beginning."""

from __future__ import annotations

import argparse
import asyncio

from contracts.topics import ACTIVITY
from runtime.rebuild import check_log_is_whole, check_nobody_scores, forget_records
from runtime.settings import ServiceSettings
from runtime.store import connect
from scorer.main import GROUP


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `rebuild` to the command line."""
    parser = subparsers.add_parser(
        "rebuild",
        help="build the records anew from the log",
        description="Delete every user's record, so that the scorers fold the log again from its "
        "beginning when they are next started. Stop them first. Refuses when Kafka no longer "
        "holds everything that is in the records.",
    )
    parser.add_argument(
        "--accept-truncated", action="store_true",
        help="go ahead although events are gone from Kafka: what they told is lost",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Forget the records; 0 when the scorers may be started."""
    return asyncio.run(_rebuild(ServiceSettings(), accept_truncated=args.accept_truncated))


async def _rebuild(settings: ServiceSettings, *, accept_truncated: bool) -> int:
    redis = connect(settings.redis_url)
    try:
        await check_nobody_scores(settings, GROUP)
        if not accept_truncated:
            await check_log_is_whole(settings, redis)
        records = await forget_records(redis)
    finally:
        await redis.aclose()
    print(
        f"{records:,} records forgotten. Start the scorers: they fold {ACTIVITY} from its "
        "beginning and publish scores again as of the moments in the log."
    )
    return 0
