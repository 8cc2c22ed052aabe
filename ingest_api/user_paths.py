"""Paths of users, and of what belongs to one: `/users/{user_id}/events` and its like."""

from __future__ import annotations

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

PARTS = ("alerts", "events", "history")
"""Last segments of paths of what belongs to a user."""


class PartOfUser(APIRoute):
    """A route whose last segment was sent as it stands, behind a slash that was sent as one.

    `ada/events` is a good name for a user: their own page is at `/users/ada%2Fevents`.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route, of a path that ends as it was sent in what the route's ends in."""
        if _part(scope) != self.path.rpartition("/")[2]:
            return Match.NONE, {}
        return super().matches(scope)


class WholeUser(APIRoute):
    """A route of a user; not for the path of a part of another, who else would be erased."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route, of another path than a `PartOfUser` has."""
        if _part(scope) in PARTS:
            return Match.NONE, {}
        return super().matches(scope)


def _part(scope: Scope) -> str:
    """What was sent behind a slash behind a user; empty: nothing was."""
    sent: bytes = scope.get("raw_path") or scope.get("path", "").encode()
    before, _, last = sent.rpartition(b"/")
    return last.decode("latin-1") if before.count(b"/") > 1 else ""
