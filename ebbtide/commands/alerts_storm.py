"""`ebbtide alerts storm`: what the storm guard holds, and what becomes of it."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contracts.storms import Order, StormState


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `alerts storm` to the command line."""
    parser = actions.add_parser(
        "storm",
        help="what the storm guard holds; release or discard it",
        description="show: whether a storm rages and how much is held. release: tell what is held, "
        "and hold nothing more until the storm has cleared. discard: tell nobody what is held so "
        "far.",
    )
    parser.add_argument("--actor", default="", help="who decides, for those who look later")
    parser.add_argument("what", choices=("show", "release", "discard"), nargs="?", default="show")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show or decide; 0."""
    return asyncio.run(_storm(args.what, args.actor))


async def _storm(what: str, actor: str) -> int:
    from contracts.storms import Decided  # noqa: PLC0415  (heavy, and not for --help)
    from contracts.times import from_ms  # noqa: PLC0415
    from runtime.clock import wall_ms  # noqa: PLC0415
    from runtime.deliveries import Deliveries  # noqa: PLC0415
    from runtime.settings import ServiceSettings  # noqa: PLC0415
    from runtime.store import connect  # noqa: PLC0415

    redis = connect(ServiceSettings().redis_url)
    try:
        shelf = Deliveries(redis)
        state, held = await shelf.storm(), await shelf.count_in("held")
        if what != "show":
            order: Order = "release" if what == "release" else "discard"
            await shelf.give_order(Decided(order=order, actor=actor, at=wall_ms()))
    finally:
        await redis.aclose()
    if state is None:
        print(f"no storm; {held} deliveries are held")
    else:
        print(
            f"storm since {from_ms(state.since).isoformat()}: {state.crossed} of {state.active} "
            f"users crossed; {held} deliveries are held"
            f"{f', released by {_who(state)}' if state.overruled else ''}"
        )
        print(f"likely cause: {state.cause}")
    if what != "show":
        print(f"the delivery worker will {what} them")
    return 0


def _who(state: StormState) -> str:
    return (state.decided.actor if state.decided is not None else "") or "a person"
