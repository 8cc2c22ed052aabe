"""What `POST /predict` takes, and how a body becomes it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import numpy as np

from contracts.events import MAX_TENURE_DAYS, MAX_TOTAL_MINUTES, MAX_TOTAL_PAGES, Text
from ingest_api import bodies
from ingest_api.problems import FieldError, Invalid

MAX_BYTES: Final = 65_536
MAX_BATCH_BYTES: Final = 1024 * 1024
MAX_ITEMS: Final = 1_000


class PredictRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A user's totals since sign-up: pages, minutes, days, and whether they are logged in.

    Strict: "12" is no number and true is none either.
    """

    pages_visited: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOTAL_PAGES, examples=[12])]
    time_spent: Annotated[float, msgspec.Meta(ge=0, le=MAX_TOTAL_MINUTES, examples=[180.5])]
    """Minutes."""
    days_since_signup: Annotated[float, msgspec.Meta(ge=0, le=MAX_TENURE_DAYS, examples=[10])]
    is_logged_in: bool
    user_id: Text | None = None
    """With it, the totals are also queued as a `snapshot` event of this user."""
    location: Text | None = None
    referral_source: Text | None = None
    device_type: Text | None = None


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Many at once."""

    items: Annotated[list[PredictRequest], msgspec.Meta(max_length=MAX_ITEMS)]


_one = msgspec.json.Decoder(PredictRequest)
_many = msgspec.json.Decoder(BatchRequest)


def decode_one(body: bytes) -> PredictRequest:
    """Raises Malformed, or Invalid naming every field that does not fit."""
    try:
        return _one.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        value = _parsed(body, error)
        raise Invalid(bodies.field_errors(PredictRequest, value) or [_general(error)]) from None


def decode_many(body: bytes) -> list[PredictRequest]:
    """Raises Malformed, or Invalid naming the fields as `items[3].time_spent`."""
    try:
        return _many.decode(body).items
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        value = _parsed(body, error)
        raise Invalid(_batch_errors(value) or [_general(error)]) from None


def as_rows(requests: list[PredictRequest]) -> np.ndarray:
    """(n, 4) float64 in the order of PREDICT_INPUTS."""
    return np.array(
        [
            (each.pages_visited, each.time_spent, each.days_since_signup, each.is_logged_in)
            for each in requests
        ],
        np.float64,
    ).reshape(-1, 4)


def _parsed(body: bytes, error: Exception) -> Any:
    """The body's plain values; raises Malformed unless only NaN or Infinity is in the way."""
    value = bodies.lenient(body)
    if not isinstance(error, msgspec.ValidationError) and bodies.not_finite(value) is None:
        raise bodies.malformed(error) from None
    return value


def _batch_errors(value: Any) -> list[FieldError]:
    if not isinstance(value, dict) or not isinstance(value.get("items"), list):
        return [FieldError("items", 'required: a list, as in {"items": [...]}')]
    errors = [
        FieldError(name, 'not a field of this request: send {"items": [...]}')
        for name in value
        if name != "items"
    ]
    items = value["items"]
    if len(items) > MAX_ITEMS:
        return [
            *errors,
            FieldError("items", f"at most {MAX_ITEMS} are taken at once; got {len(items)}"),
        ]
    for index, item in enumerate(items):
        errors += bodies.field_errors(PredictRequest, item, f"items[{index}]")
    return errors


def _general(error: Exception) -> FieldError:
    return FieldError("", str(error))
