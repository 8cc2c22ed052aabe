"""A person wants something told once more."""

from __future__ import annotations

import msgspec

from runtime.deliveries import Deliveries


async def resend(shelf: Deliveries, known: str, now_ms: int, actor: str = "") -> dict[str, str]:
    """Make the deliveries of a message, or the one of that id, due at once.

    actor: who wants it, as they call themselves.

    By delivery, in words, what was done; empty when there is none. What was once held back, by
    quiet hours, a cap or a storm, is not held back again.
    """
    done: dict[str, str] = {}
    for slip in await shelf.find(known):
        row = slip.row
        if row.state == "control":
            done[row.row_id] = "held out: telling it would spoil the experiment"
            continue
        after = msgspec.structs.replace(
            row,
            state="waiting",
            # Not a first attempt: those wait for quiet hours, caps and storms.
            attempts=1,
            under_way=False,
            due=now_ms,
            updated=now_ms,
            reason=f"sent again by {actor or 'a person'}",
        )
        if await shelf.settle(slip, after) is None:
            done[row.row_id] = "is being attempted just now"
            continue
        switched_on = await shelf.enable(row.channel)
        done[row.row_id] = "will be sent" + ("; the channel is on again" if switched_on else "")
    return done
