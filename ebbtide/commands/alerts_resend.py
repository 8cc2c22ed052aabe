"""`ebbtide alerts resend`: tell it once more, at once."""

from __future__ import annotations

import argparse
import asyncio

from contracts.errors import BadRecord


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `alerts resend` to the command line."""
    parser = actions.add_parser(
        "resend",
        help="tell an alert once more, under the id it had",
        description="Sends a message again, whatever became of it: past quiet hours, caps and "
        "storms, with the attempts of a new schedule. A channel that was switched off is switched "
        "on again. What the holdout keeps from everybody is not told.",
    )
    parser.add_argument(
        "id", metavar="ID", help="an alert_id for all its channels, or ALERT_ID:CHANNEL for one"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Put the deliveries back; raises BadRecord when there is nothing to send."""
    return asyncio.run(_resend(args.id))


async def _resend(known: str) -> int:
    from runtime.clock import wall_ms  # noqa: PLC0415  (heavy, and not for --help)
    from runtime.deliveries import Deliveries  # noqa: PLC0415
    from runtime.resend import resend  # noqa: PLC0415
    from runtime.settings import ServiceSettings  # noqa: PLC0415
    from runtime.store import connect  # noqa: PLC0415

    redis = connect(ServiceSettings().redis_url)
    try:
        outcomes = await resend(Deliveries(redis), known, wall_ms())
    finally:
        await redis.aclose()
    if not outcomes:
        raise BadRecord(
            f"no delivery is called {known}; `ebbtide alerts deliveries` lists them, for 30 days"
        )
    for row_id, outcome in outcomes.items():
        print(f"{row_id}: {outcome}")
    return 0
