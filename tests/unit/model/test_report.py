"""The report is one file that says what the manifest says, and its charts are well-formed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from contracts.activity import FoldRules
from model.artefact import REPORT_FILE
from model.event_log import event_log
from model.plots import Axis, Series, bars, lines, share_axis
from model.simulator import Population, simulate
from model.training import METRICS_FILE, TrainingSettings, train

RULES = FoldRules()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    log = event_log(simulate(Population(users=200, days=100, seed=9)), RULES)
    settings = TrainingSettings(horizon_days=10, active_days=20, rows=1_500)
    train(log, settings, RULES, origin="<visits> & 'co'").save(path)
    return path


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / REPORT_FILE).read_text(encoding="utf-8")


def test_every_field_of_the_metrics_is_documented(folder):
    """
    docs/report.md has a line for each, and for nothing else.
    """
    guide = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", guide.split("## metrics.json")[1], re.MULTILINE)
    written = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))

    assert set(written) == set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_the_cost_of_the_law_is_told(folder, page):
    """
    In log loss, with its error, as in the manifest.
    """
    cost = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))["law_of_silence"]

    assert f"costs {cost['log_loss']:+.4f} log loss, ± {cost['error']:.4f}" in page


def test_the_report_needs_nothing_else(page):
    """
    No script, no link, no image, nothing fetched from anywhere.
    """
    for outside in ("<script", "<link", "<img", "http://", "https://", "url("):
        assert outside not in page


def test_the_report_has_every_part(page):
    """
    Curves, reliability per stratum, silence, months, concepts, candidates, data card, limits.
    """
    titles = re.findall(r"<h[23]>([^<]+)</h[23]>", page)

    for part in (
        "ROC", "Precision and recall", "Lift", "All rows", "Instant rows", "Session end rows",
        "Silence rows", "Predictions by outcome", "Along a silence", "Risk over silence",
        "Base rate by month", "Walk-forward", "Concept effects", "Ablation", "Candidates",
        "Data card", "Limits",
    ):  # fmt: skip
        assert part in titles
    assert "season not identified" in page.lower()


def test_names_from_outside_are_escaped(page):
    """
    An origin with markup in it is text.
    """
    assert "<visits>" not in page
    assert "&lt;visits&gt; &amp; &#x27;co&#x27;" in page


def test_every_chart_is_well_formed(page):
    """
    Each svg parses, and no coordinate is missing.
    """
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)

    assert len(charts) > 10
    for chart in charts:
        ElementTree.fromstring(chart)
        assert "nan" not in chart


def test_a_line_goes_where_its_points_are():
    """
    The lower left point lies left of and below the upper right one, within the frame.
    """
    chart = lines([Series("", [0, 1], [0, 1])], share_axis("x"), share_axis("y"), "chart")
    points = re.search(r'points="([^"]+)"', chart)[1].split()
    (x0, y0), (x1, y1) = ([float(v) for v in point.split(",")] for point in points)

    assert 0 < x0 < x1 < 400
    assert 270 > y0 > y1 > 0


def test_an_axis_places_and_clips():
    """
    The middle of a log axis is the geometric one; what lies outside stays at the edge.
    """
    axis = Axis("days", 0.01, 100.0, [], is_log=True)

    assert axis.place(1.0) == pytest.approx(0.5)
    assert (0.0, 1.0) == (axis.place(1e-6), axis.place(1e6))


def test_bars_show_both_signs():
    """
    A negative value reaches to the left of the zero line, in another colour.
    """
    chart = bars(["up", "down"], [2.0, -1.0], "{:+.1f}".format, "chart")
    (up, right), (down, left) = re.findall(r'<rect class="(\w+)" x="([\d.]+)"', chart)

    assert float(left) < float(right)
    assert up != down
