"""What is known of users: one in full, and the list by risk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal
from urllib.parse import unquote_to_bytes

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Path
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import EVENT_ROW, LogPlace, check_user_id, row
from contracts.record import CANCELLED, CURVE_STALE, ERASED, HAS_CURVE, NO_CROSSING, RING_DAYS
from contracts.scores import DECIMALS, Attributes, Crossing, Evidence, Explanation, Position
from contracts.times import DAY_MS, HOUR_MS, NEVER, from_ms, from_ms_or_none
from ingest_api import openapi
from ingest_api.inputs import PredictRequest
from ingest_api.log import ActivityLog
from ingest_api.problems import FieldError, Invalid, Malformed, UnknownUser
from ingest_api.publishing import tombstone
from ingest_api.records import UserReader
from ingest_api.snapshots import snapshot
from ingest_api.user_paths import WholeUser
from ingest_api.verdicts import verdict
from model.artefact import Model
from model.comeback import comeback
from model.features import (
    FEATURES,
    PREDICT_INPUTS,
    features,
    missing,
    predict_inputs,
    usual_gap_ms,
)
from model.fold import fold
from model.reasons import Explainer
from model.silence import at_risk_at, crossings, silence_curve, within_grid


def user_in_path(request: Request, user_id: str = Path(min_length=1, max_length=256)) -> str:
    """The user_id of the path; raises Malformed where its bytes are no text, Invalid for one that
    no event could have.

    Starlette would put a substitute for such bytes, and so name, or erase, another user.
    """
    try:
        unquote_to_bytes(request.scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError:
        raise Malformed("the user_id in the path is not UTF-8") from None
    try:
        check_user_id(user_id)
    except BadRecord as bad:
        raise Invalid([FieldError("user_id", bad.reason.removeprefix("user_id "))]) from None
    return user_id


UserId = Annotated[str, Depends(user_in_path)]


class _AnyText(PathConvertor):
    """Like `path`, also with a line break in it: what is refused is refused for its reason."""

    regex = "(?s:.*)"


register_url_convertor("text", _AnyText())


class UserScore(msgspec.Struct, frozen=True):
    """A user's risk as of `as_of`."""

    churn_probability: float
    prediction: Literal["0", "1"]
    confidence: float
    as_of: datetime
    beyond_grid: bool
    """Silent for longer than the model knows: the score is the one at the end of its grid."""
    model_version: str
    horizon_days: int
    origin: str


class Day(msgspec.Struct, frozen=True):
    """What a user did on a UTC day, as far as events told of it."""

    day: date
    is_active: bool
    sessions: int
    pages: int
    minutes: float


class Return(msgspec.Struct, frozen=True):
    """The least the user would have to do, as they usually do it, for a risk below `below`."""

    below: float
    sessions: int | None
    """0: it is below already; null: no plausible activity within a week suffices."""
    churn_probability: float | None
    """When the last of these sessions has ended."""
    pages: int
    """Of an ordinary session of theirs, as are the minutes."""
    minutes: float
    every_days: float
    text: str


@dataclass(frozen=True, slots=True)
class RecordScore:
    """The score of a record with totals folded in."""

    churn_probability: float
    evidence: Evidence
    explanation: Explanation | None


class UserPage(msgspec.Struct, frozen=True):
    """Everything known of one user, with the score as of now."""

    user_id: str
    features: dict[str, int | float | None]
    """Name to number, null where unknown; `GET /model` has the units."""
    score: UserScore | None
    """null until the user has done something: no model learned from people known by totals only."""
    explanation: Explanation | None
    """Why: base and contributions are the log-odds of the score; null if the model is no sum."""
    comeback: Return | None
    """What would bring the risk below the cut-off of `prediction`; null without a score."""
    last_seen_at: datetime | None
    signed_up_at: datetime | None
    first_seen_at: datetime | None
    at_risk_at: datetime | None
    """When risk reaches the alert threshold if the user stays silent."""
    crossings: tuple[Crossing, ...]
    cancelled: bool
    attributes: Attributes
    position: Position
    """The last record of the log that these facts include."""
    evidence: Evidence
    days: tuple[Day, ...]
    """The last 28 UTC days up to now, the earliest first."""


class Erasing(msgspec.Struct, frozen=True):
    """The erasure is in the log; reads answer 404 once the scorer has read it."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Users:
    """Reads stored records as of a moment. `clock` decides whose time that is."""

    model: Model
    reader: UserReader
    moments: Callable[[np.ndarray], Awaitable[np.ndarray]]
    """(n,) RECORD to (n,) i8 ms: what is now for each user."""
    alert_threshold: float
    explainer: Explainer
    rules: FoldRules

    async def score_record(self, totals: PredictRequest, explain: bool) -> RecordScore | None:
        """The score as of now of the user's record with the totals folded in as a snapshot.

        So the scorer will score it, once it has read the snapshot. None for a user who is unknown,
        or known by totals only.
        """
        assert totals.user_id is not None
        record, now = await self._known(totals.user_id)
        if record is None or not _has_acted(record["facts"][0]):
            return None
        facts = self._with(totals, record, now)
        told = self.explainer.explanations(facts, np.array([now])) if explain else None
        return RecordScore(
            self._score(facts, now).churn_probability,
            _evidence(facts),
            None if told is None else told[0],
        )

    async def known(self, user_id: str) -> np.ndarray:
        """(1,) RECORD of a user; raises UnknownUser, StoreUnavailable."""
        return (await self._found(user_id))[0]

    async def page(self, user_id: str) -> UserPage:
        """Raises UnknownUser, StoreUnavailable."""
        record, now = await self._found(user_id)
        facts = record["facts"]
        acted = _has_acted(facts[0])
        told = self.explainer.explanations(facts, np.array([now])) if acted else None
        names = await self.reader.names(_categories(facts[0]).values())
        curve = self._curve(record)
        last_seen = int(facts["last_seen"][0])
        return UserPage(
            user_id=user_id,
            features=_feature_numbers(facts, self._within_grid(facts, int(now))),
            score=self._score(facts, int(now)) if acted else None,
            explanation=None if told is None else told[0],
            comeback=self._comeback(facts, int(now)) if acted else None,
            last_seen_at=from_ms_or_none(last_seen),
            signed_up_at=from_ms_or_none(int(facts["signup_at"][0])),
            first_seen_at=from_ms_or_none(int(facts["first_seen"][0])),
            at_risk_at=_moment(self._at_risk(curve, facts["last_seen"])[0]),
            crossings=tuple(
                Crossing(round(level, DECIMALS), None if at is None else from_ms(at))
                for level, at in crossings(curve[0], self.model.levels, last_seen)
                if acted
            ),
            cancelled=bool(facts["flags"][0] & CANCELLED),
            attributes=_attributes(facts[0], names),
            position=Position(
                log=int(facts["log_number"][0]),
                offset=int(facts["offset"][0]),
                partition=int(record["outlook"]["home"][0]),
            ),
            evidence=_evidence(facts),
            days=days(facts[0], int(now)),
        )

    async def _found(self, user_id: str) -> tuple[np.ndarray, int]:
        """(1,) RECORD, and what now is (epoch ms); raises UnknownUser, StoreUnavailable."""
        record, now = await self._known(user_id)
        if record is None:
            raise UnknownUser(f"no activity of {user_id!r} is on record")
        return record, now

    async def _known(self, user_id: str) -> tuple[np.ndarray | None, int]:
        """(1,) RECORD, None where nobody is on record now, and what now is (epoch ms)."""
        record = await self.reader.load([user_id])
        if not _is_known(record["facts"][0]):
            return None, 0
        now = await self.moments(record)
        return (None if self._expired(record["facts"], now)[0] else record), int(now[0])

    def _expired(self, facts: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(n,) who has been away for longer than the retention: what they do next starts anew."""
        last_seen = facts["last_seen"]
        return np.asarray((last_seen != NEVER) & (now >= self.rules.expiry(last_seen)))

    def _with(self, totals: PredictRequest, record: np.ndarray, now: int) -> np.ndarray:
        """(1,) FACTS after the totals, as a snapshot right behind what the record knows of."""
        facts = record["facts"]
        place = LogPlace(
            log=int(facts["log_number"][0]),
            partition=int(record["outlook"]["home"][0]),
            offset=int(facts["offset"][0]) + 1,
            time=now,
        )
        event = np.array([row(snapshot(totals), place, self.rules)], EVENT_ROW)
        return fold(facts, event, np.zeros(1, np.intp), self.rules)

    def _comeback(self, facts: np.ndarray, now: int) -> Return:
        # Nobody is brought back who would still be alerted about.
        below = min(self.model.class_cutoff, self.alert_threshold)
        found = comeback(self.model, facts, now, below, self.rules)
        return Return(
            below=below,
            sessions=found.sessions,
            churn_probability=found.probability,
            pages=found.pages,
            minutes=found.minutes,
            every_days=found.every_days,
            text=found.text,
        )

    def _within_grid(self, facts: np.ndarray, now: int) -> int:
        """`now`, at most the end of the silence grid."""
        end = int(self.model.grid_hours[-1])
        return int(within_grid(facts["last_seen"], np.array([now]), end)[0])

    def _score(self, facts: np.ndarray, now: int) -> UserScore:
        as_of = self._within_grid(facts, now)
        probability = float(self.model.score(facts, np.array([as_of]))[0])
        prediction, confidence = verdict(probability, self.model.class_cutoff)
        return UserScore(
            churn_probability=probability,
            prediction=prediction,
            confidence=confidence,
            as_of=from_ms(as_of),
            beyond_grid=as_of < now,
            model_version=self.model.version,
            horizon_days=self.model.horizon_days,
            origin=self.model.origin,
        )

    def _has_curve(self, records: np.ndarray) -> np.ndarray:
        """(n,) whether the stored curve is of this model."""
        outlook = records["outlook"]
        made = (outlook["state"] & HAS_CURVE) != 0
        return np.asarray(made & (outlook["model"] == self.model.hash))

    def _curve(self, record: np.ndarray) -> np.ndarray:
        """(1, L) the stored curve, or a fresh one where facts or model have changed since."""
        stale = (record["outlook"]["state"] & CURVE_STALE) != 0
        if (self._has_curve(record) & ~stale)[0]:
            return np.asarray(record["outlook"]["curve"])
        if not _has_acted(record["facts"][0]):
            return np.full((1, len(self.model.levels)), NO_CROSSING, np.uint16)
        return silence_curve(self.model, record["facts"])

    def _at_risk(self, curve: np.ndarray, last_seen: np.ndarray) -> np.ndarray:
        return at_risk_at(curve, self.model.levels, last_seen, self.alert_threshold)


def router(*, users: Users, log: ActivityLog, now: Callable[[], int]) -> APIRouter:
    """The routes, over their collaborators."""
    routes = APIRouter(tags=["users"], route_class=WholeUser)

    @routes.get(
        "/users/{user_id:text}",
        summary="One user, scored as of now",
        responses=openapi.responses(
            {200: openapi.of(UserPage, "What is known of the user.")}, 400, 404, 422, 503
        ),
    )
    async def get_user(user_id: UserId) -> Response:
        return openapi.reply(await users.page(user_id))

    @routes.delete(
        "/users/{user_id:text}",
        status_code=202,
        summary="Erase a user",
        description="Publishes a tombstone. What is known of the user goes once the scorer has "
        "read it; later events start anew.",
        responses=openapi.responses({202: openapi.of(Erasing, "Kafka has it.")}, 400, 422, 503),
    )
    async def delete_user(user_id: UserId) -> Response:
        await log.publish([tombstone(user_id, now())])
        return openapi.reply(Erasing(user_id), 202)

    return routes


def _is_known(facts: np.void) -> bool:
    return bool(facts["offset"] >= 0 and not facts["flags"] & ERASED)


def days(facts: np.void, now: int) -> tuple[Day, ...]:
    """The ring of FACTS as of `now` (epoch ms): 28 days that end today, or at last-seen's day
    where that is later, with nothing on those after it."""
    seen = None if facts["last_seen"] == NEVER else int(facts["last_seen"]) // DAY_MS
    last = max(now // DAY_MS, now // DAY_MS if seen is None else seen)
    told = []
    for day in range(last - RING_DAYS + 1, last + 1):
        ago = None if seen is None else seen - day
        kept = ago is not None and 0 <= ago < RING_DAYS
        slot = day % RING_DAYS
        told.append(
            Day(
                day=from_ms(day * DAY_MS).date(),
                is_active=kept and bool(int(facts["day_bits"]) >> (ago or 0) & 1),
                sessions=int(facts["day_sessions"][slot]) if kept else 0,
                pages=int(facts["day_pages"][slot]) if kept else 0,
                minutes=round(int(facts["day_seconds"][slot]) / 60, 2) if kept else 0.0,
            )
        )
    return tuple(told)


def _has_acted(facts: np.void) -> bool:
    return bool(facts["events"] > 0 and facts["last_seen"] != NEVER)


def _feature_numbers(facts: np.ndarray, as_of: int) -> dict[str, int | float | None]:
    moment = np.array([as_of])
    names = [feature.name for feature in (*FEATURES, *PREDICT_INPUTS)]
    values = [*features(facts, moment)[0], *predict_inputs(facts, moment)[0]]
    return {name: _plain(float(value)) for name, value in zip(names, values, strict=True)}


def _plain(value: float) -> int | float | None:
    if np.isnan(value):
        return None
    return int(value) if value.is_integer() else round(value, DECIMALS)


def _moment(ms: np.int64) -> datetime | None:
    return from_ms_or_none(int(ms))


def _evidence(facts: np.ndarray) -> Evidence:
    gap = usual_gap_ms(facts)[0]
    return Evidence(
        events=int(facts["events"][0]),
        active_days=int(facts["active_days"][0]),
        usual_gap_hours=None if np.isnan(gap) else round(float(gap) / HOUR_MS, 2),
        missing=missing(facts)[0],
    )


def _categories(facts: np.void) -> dict[str, int]:
    fields = ("location", "referral_source", "device_type", "plan")
    return {field: int(facts[field]) for field in fields}


def _attributes(facts: np.void, names: dict[int, str]) -> Attributes:
    """Names where they are known, else the hash; null where nothing was stated."""
    told = {
        field: names.get(number, f"#{number:08x}") if number else None
        for field, number in _categories(facts).items()
    }
    return Attributes(**told, value=int(facts["value_cents"]) / 100)
