"""`GET /model`: what the served model is, and what its numbers mean."""

from __future__ import annotations

from typing import Final

import msgspec
from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from contracts.bands import SIMULATOR
from contracts.events import MAX_TENURE_DAYS, MAX_TOTAL_MINUTES, MAX_TOTAL_PAGES
from ingest_api import openapi
from model.artefact import Beside, Model, Period
from model.features import FEATURES, PREDICT_INPUTS, Feature
from model.figures import AlertThreshold, Check, Figures, PeriodCheck
from model.quality import Quality

# What the request may state is narrower than what a record may come to.
_ACCEPTED: Final = {
    "pages_visited": MAX_TOTAL_PAGES,
    "time_spent": MAX_TOTAL_MINUTES,
    "days_since_signup": MAX_TENURE_DAYS,
    "is_logged_in": 1,
}


class DescribedFeature(msgspec.Struct, frozen=True):
    """One number a model reads, or `/users/{user_id}` shows."""

    name: str
    unit: str
    low: float
    high: float
    kind: str
    """What silence does to it: `frozen`, `fading` (never rises), `recency` (never falls)."""
    direction: int
    """+1: more means more risk; -1: less; 0: not known beforehand."""
    definition: str
    why: str


class ModelPage(msgspec.Struct, frozen=True):
    """The model behind every score."""

    version: str
    origin: str
    """What it learned from."""
    horizon_days: int
    """A user who does nothing for this long has churned."""
    active_days: int
    candidate: str
    chosen_because: str
    class_cutoff: float
    """Probability from which `prediction` is "1"."""
    levels: tuple[float, ...]
    """Rungs of the risk ladder; alert thresholds snap to the nearest."""
    alert_threshold: float
    """Where alerts open that no policy file says otherwise of: the rung next to what was set, else
    the model's own, else to 0.7."""
    alert_choice: AlertThreshold | None
    """The model's own and what it was chosen by; null: it states none."""
    silence_grid_days: float
    """No score beyond this much silence."""
    trained: Period
    validated_from: str
    rows: dict[str, int]
    metrics: Figures | None
    """Of the full estimator on the validation period."""
    predict_metrics: Figures
    """Of the four-input estimator behind `/predict`."""
    features: tuple[DescribedFeature, ...]
    predict_inputs: tuple[DescribedFeature, ...]
    is_simulated: bool
    """Learned from no real user: the figures say nothing about anybody's users."""
    churn: str
    """What counted as churn."""
    log: Period
    calibration: str
    """What was adopted; the figures are those with it."""
    silence: dict[str, Check]
    """Whether probabilities are right along a silence, and for newcomers."""
    periods: tuple[PeriodCheck, ...]
    """Each was predicted from what came before it."""
    base_rates: dict[str, float]
    """Churn among active users by month (YYYY-MM)."""
    unseen_users: Figures | None
    """On users who gave it no training row."""
    memory_days: int | None
    """How far back it learned from; null: everything."""
    predict_origin: str
    """What the four-input estimator learned from."""
    notes: tuple[str, ...]
    """What a person should know before acting on it."""
    has_report: bool
    """Whether `/model/report` has one."""


class QualityPage(msgspec.Struct, frozen=True):
    """How the model's predictions did in training."""

    model_version: str
    quality: Quality | None
    """null: the model was trained by a release that did not keep it, or it was not copied."""


def model_page(model: Model, alert_threshold: float, has_report: bool = False) -> ModelPage:
    """The page of a loaded model; alert_threshold: what is in force."""
    manifest = model.manifest
    chosen = manifest.candidates.get(manifest.candidate)
    return ModelPage(
        version=model.version,
        origin=model.origin,
        horizon_days=model.horizon_days,
        active_days=manifest.active_days,
        candidate=manifest.candidate,
        chosen_because=manifest.chosen_because,
        class_cutoff=model.class_cutoff,
        levels=manifest.levels,
        alert_threshold=min(manifest.levels, key=lambda rung: abs(rung - alert_threshold)),
        alert_choice=manifest.alert_threshold,
        silence_grid_days=round(manifest.grid_hours[-1] / 24, 2),
        trained=manifest.training,
        validated_from=manifest.validated_from,
        rows=manifest.rows,
        metrics=None if chosen is None else chosen.overall,
        predict_metrics=manifest.predict,
        features=tuple(_described(feature, feature.high) for feature in FEATURES),
        predict_inputs=tuple(
            _described(feature, _ACCEPTED[feature.name]) for feature in PREDICT_INPUTS
        ),
        is_simulated=model.origin == SIMULATOR,
        churn=manifest.churn,
        log=manifest.log,
        calibration=manifest.calibration,
        silence=manifest.silence,
        periods=manifest.periods,
        base_rates=manifest.base_rates,
        unseen_users=manifest.unseen_users,
        memory_days=None if manifest.memory is None else manifest.memory.days,
        predict_origin=model.inputs_origin,
        notes=manifest.notes,
        has_report=has_report,
    )


def _described(feature: Feature, high: float) -> DescribedFeature:
    return DescribedFeature(
        name=feature.name,
        unit=feature.unit,
        low=feature.low,
        high=high,
        kind=feature.kind,
        direction=feature.direction,
        definition=feature.definition,
        why=feature.why,
    )


REPORT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox"
)
"""The report is one file with its style inside, and whoever made the model wrote it: it may show
itself and do nothing."""


def router(*, model: Model, beside: Beside, alert_threshold: float) -> APIRouter:
    """The routes of a loaded model and of what is told of it."""
    routes = APIRouter(tags=["model"])
    page = model_page(model, alert_threshold, beside.report is not None)
    quality = QualityPage(model.version, beside.quality)

    @routes.get(
        "/model",
        summary="The model behind the scores",
        responses=openapi.responses({200: openapi.of(ModelPage, "What the model is.")}, 503),
    )
    async def get_model() -> Response:
        return openapi.reply(page)

    @routes.get(
        "/model/quality",
        summary="Calibration, lift and effects, from the model's training",
        responses=openapi.responses(
            {200: openapi.of(QualityPage, "Of walk-forward predictions.")}, 503
        ),
    )
    async def get_quality() -> Response:
        return openapi.reply(quality)

    @routes.get(
        "/model/report",
        summary="The report of the model's training",
        response_class=Response,
        responses={
            200: {"content": {"text/html": {"schema": {"type": "string"}}}},
            **openapi.responses({}, 404),
        },
    )
    async def get_report() -> Response:
        if beside.report is None:
            raise HTTPException(404)
        headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-cache"}
        return Response(beside.report, media_type="text/html", headers=headers)

    return routes
