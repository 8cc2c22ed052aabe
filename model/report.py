"""report.html: what was learned, how good it is, and what it does not say; one file, no scripts."""

from __future__ import annotations

from html import escape
from math import sqrt
from typing import Final

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from model.artefact import Comparison, Manifest
from model.calibration import Predictions
from model.dataset import STRATA
from model.evaluation import CALIBRATION_BINS, calibration_error, figures
from model.evidence import Evidence
from model.figures import Figures
from model.plots import STYLE, Axis, Series, bars, lines, share_axis

MOST_POINTS: Final = 200
RISK_BINS: Final = 20
COLUMNS: Final = ("AUC", "avg. prec.", "Brier", "log loss", "ECE", "lift", "rows")
SHORT_MOMENTS: Final = {"after event": "event", "session end": "end"} | {
    f"{days} d silent": f"{days} d" for days in (1, 3, 7, 14, 28, 60)
}

_STYLE: Final = """
:root{color-scheme:light dark;--page:#f6f8fa;--paper:#fff;--ink:#1f2933;--soft:#52606d;
--line:#dde3ea;--warn:#fffaeb;--warnline:#f5d67b;--off:#b42318}
@media(prefers-color-scheme:dark){:root{--page:#12171d;--paper:#1b222b;--ink:#e4e9ef;--soft:#a3afbc;
--line:#323c48;--warn:#2f2812;--warnline:#6f5b1d;--off:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:32px 24px 64px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:19px;margin:40px 0 12px}
h3{font-size:15px;margin:0 0 8px}p{margin:0 0 12px;max-width:80ch}.dim{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:12px;margin:20px 0}
.card,figure,.box{background:var(--paper);border:1px solid var(--line);border-radius:8px;
padding:14px;margin:0}
.card b{display:block;font-size:24px;line-height:1.2}.card span{font-size:13px;color:var(--soft)}
.grid3{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(340px,100%),1fr));gap:16px;
margin:0 0 16px}
figcaption{font-size:13px;color:var(--soft);margin-top:6px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
tr:last-child td{border-bottom:0}th:first-child,td:first-child{text-align:left}
th{font-weight:600;color:var(--soft)}
.chosen td{font-weight:600}.off{color:var(--off);font-weight:600}
.box{overflow-x:auto;margin:0 0 16px}
dl{display:grid;grid-template-columns:minmax(90px,max-content) 1fr;gap:4px 18px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.warn{background:var(--warn);border:1px solid var(--warnline);border-radius:8px;padding:10px 14px;
margin:0 0 8px}
"""


def report(manifest: Manifest, found: Predictions, stratum: np.ndarray, evidence: Evidence) -> str:
    """The page, for a manifest and the chosen candidate's walk-forward predictions."""
    overall = manifest.candidates[manifest.candidate]
    body = [
        f"<h1>Churn model {escape(manifest.version)}</h1>",
        f"<p class=dim>Learned from {escape(manifest.origin)}. Every figure below is from "
        "predictions for a time later than anything the estimator had seen.</p>",
        *(
            f'<p class="warn">{escape(note[0].upper() + note[1:])}</p>'
            for note in _warnings(manifest)
        ),
        _cards(manifest, found),
        f"<p class=dim>{escape(_what_rows(found, stratum))}</p>",
        "<h2>How well it tells leavers from stayers</h2>",
        _grid(_roc(found), _precision(found), _lift(found)),
        _strata(found, stratum),
        "<h2>Whether its probabilities are right</h2>",
        "<p>A dot is a fifteenth of the rows: what was predicted on average, and how many of them "
        "left, with the 95 % that chance allows around it. On the dashed line both are the "
        "same.</p>",
        _grid(
            _reliability("all rows", found.label, found.probability),
            _spread(found),
            _along_silence(manifest),
            *(
                _reliability(
                    f"{name.replace('_', ' ')} rows",
                    found.label[stratum == i],
                    found.probability[stratum == i],
                )
                for i, name in enumerate(STRATA)
                if (stratum == i).any()
            ),
        ),
        _silence_table(manifest),
        *_alerts(manifest),
        "<h2>What silence does</h2>",
        "<p>Users of the log, had they never come back: risk never falls while they stay away"
        f"{_law(manifest)}.</p>",
        _grid(_silence(evidence, manifest), _months(manifest), _periods(manifest)),
        "<h2>What it goes by</h2>",
        _grid(
            _bars(
                evidence.effects,
                "Concept effects",
                "{:.2f}",
                "Log-odds that each concept moves a score by, on average: 0.7 doubles the odds.",
            ),
            _bars(
                evidence.ablation,
                "Ablation",
                "{:+.4f}",
                "Log loss of a logistic regression without the concept, minus with it, on the last "
                "period. What others can stand in for costs little.",
            ),
        ),
        "<h2>Candidates</h2>",
        "<p>On the same rows, each predicted from what came before it. &ldquo;Behind&rdquo; is the "
        "log loss beyond the best candidate&rsquo;s, with its standard error (users as clusters)."
        "</p>",
        _candidates(manifest),
        f"<p class=dim>Chosen: {escape(overall.title)}, {escape(manifest.chosen_because)}. "
        f"Calibration: {escape(manifest.calibration)}{_trials(manifest)}.</p>",
        "<h2>Data card</h2>",
        _card(manifest),
        "<h2>Limits</h2>",
        _limits(manifest),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Churn model {escape(manifest.version)}</title>"
        f"<style>{_STYLE}{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _warnings(manifest: Manifest) -> list[str]:
    simulated = manifest.origin == "simulator"
    first = ["This model learned from a simulated population: its figures show the machinery and "
             "say nothing about your users."] if simulated else []  # fmt: skip
    return [*first, *manifest.notes]


def _cards(manifest: Manifest, found: Predictions) -> str:
    got = figures(found.label, found.probability)
    shown = {
        "AUC: a leaver outranks a stayer": _number(got.auc, 3),
        "Brier score": _number(got.brier, 3),
        "log loss": _number(got.log_loss, 3),
        "calibration error": _number(got.ece, 3),
        "times the churn, in the riskiest tenth": _number(got.top_decile_lift, 2),
        f"churn within {manifest.horizon_days} days": f"{got.base_rate:.0%}",
    }
    cards = "".join(
        f"<div class=card><b>{v}</b><span>{escape(k)}</span></div>" for k, v in shown.items()
    )
    return f"<div class=cards>{cards}</div>"


def _roc(found: Predictions) -> str:
    x, y, _ = roc_curve(found.label, found.probability)
    kept = _thinned(len(x))
    chart = lines(
        [_diagonal(), Series("", x[kept].tolist(), y[kept].tolist())],
        share_axis("stayers called at risk"), share_axis("leavers caught"), "ROC curve",
    )  # fmt: skip
    area = figures(found.label, found.probability).auc
    return _figure("ROC", chart, f"Leavers caught against stayers bothered: area {area:.3f}.")


def _precision(found: Predictions) -> str:
    y, x, _ = precision_recall_curve(found.label, found.probability)
    kept = _thinned(len(x))
    rate = float(found.label.mean())
    chart = lines(
        [
            Series("", [0, 1], [rate, rate], dashed=True),
            Series("", x[kept].tolist(), y[kept].tolist()),
        ],
        share_axis("leavers caught"), share_axis("of those called, leavers"), "Precision",
    )  # fmt: skip
    area = figures(found.label, found.probability).average_precision
    told = f"Average precision {area:.3f}. Dashed: calling users at random."
    return _figure("Precision and recall", chart, told)


def _lift(found: Predictions) -> str:
    order = np.argsort(-found.probability, kind="stable")
    caught = np.cumsum(found.label[order]) / max(found.label.sum(), 1)
    share = np.arange(1, len(order) + 1) / len(order)
    kept = _thinned(len(order))
    chart = lines(
        [_diagonal(), Series("", [0.0, *share[kept]], [0.0, *caught[kept]])],
        share_axis("users contacted, riskiest first"), share_axis("leavers reached"), "Lift",
    )  # fmt: skip
    tenth = caught[max(len(order) // 10 - 1, 0)]
    told = f"Contacting the riskiest tenth reaches {tenth:.0%} of the leavers."
    return _figure("Lift", chart, told)


def _reliability(title: str, label: np.ndarray, probability: np.ndarray) -> str:
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, CALIBRATION_BINS) if len(part)]
    x = [float(probability[part].mean()) for part in parts]
    y = [float(label[part].mean()) for part in parts]
    reach = [_chance(share, len(part)) for share, part in zip(y, parts, strict=True)]
    chart = lines(
        [_diagonal(), Series("", x, y, dots=True, reach=reach)],
        share_axis("predicted"), share_axis("happened"), f"Reliability, {title}",
    )  # fmt: skip
    told = f"{len(label):,} rows, calibration error {calibration_error(label, probability):.3f}"
    return _figure(title[0].upper() + title[1:], chart, told)


def _chance(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927)."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half


def _spread(found: Predictions) -> str:
    edges = np.linspace(0, 1, RISK_BINS + 1)
    shares = {
        name: np.histogram(found.probability[found.label == label], edges)[0]
        / max((found.label == label).sum(), 1)
        for name, label in (("stayed", 0), ("left", 1))
    }
    top = float(np.ceil(max(float(share.max()) for share in shares.values()) * 10) / 10)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    chart = lines(
        [Series(name, middles, share.tolist(), dots=True) for name, share in shares.items()],
        share_axis("predicted"), share_axis("share of them", top), "Predictions by outcome",
    )  # fmt: skip
    return _figure("Predictions by outcome", chart, "How far apart the two are told.")


def _along_silence(manifest: Manifest) -> str:
    checks = {name: check for name, check in manifest.silence.items() if name != "newcomers"}
    if len(checks) < 2:
        return ""
    x = list(range(len(checks)))
    reach = [_chance(check.base_rate, check.rows) for check in checks.values()]
    ticks = [(float(i), SHORT_MOMENTS.get(name, name)) for i, name in enumerate(checks)]
    chart = lines(
        [
            Series("left", x, [c.base_rate for c in checks.values()], dots=True, reach=reach),
            Series("predicted", x, [c.predicted for c in checks.values()], dots=True),
        ],
        Axis("moment", -0.3, len(x) - 0.7, ticks), share_axis("share"), "Along a silence",
    )  # fmt: skip
    return _figure("Along a silence", chart, "Right after an event, at the session's end, later.")


def _what_rows(found: Predictions, stratum: np.ndarray) -> str:
    kinds = [name.replace("_", " ") for i, name in enumerate(STRATA) if (stratum == i).any()]
    return (
        f"{len(found.label):,} predictions for {len(np.unique(found.user)):,} users, at moments "
        f"drawn as scores are asked for ({', '.join(kinds)}). They are not monthly cut-offs of "
        "active users: compare figures of other models on the instant rows."
    )


def _strata(found: Predictions, stratum: np.ndarray) -> str:
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))} rows</td>"
        f"{_cells(figures(found.label[stratum == i], found.probability[stratum == i]))}"
        f"<td>{found.label[stratum == i].mean():.3f}</td></tr>"
        for i, name in enumerate(STRATA)
        if (stratum == i).any()
    )
    head = "".join(f"<th>{name}</th>" for name in ("", *COLUMNS, "churn"))
    return f"<div class=box><table><tr>{head}</tr>{rows}</table></div>"


def _silence_table(manifest: Manifest) -> str:
    if not manifest.silence:
        return ""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{check.rows:,}</td><td>{check.base_rate:.3f}</td>"
        f"<td>{check.predicted:.3f}</td>"
        f"<td{_off(check.ece, check.floor)}>{check.ece:.3f}</td><td>{check.floor:.3f}</td></tr>"
        for name, check in manifest.silence.items()
    )
    return (
        "<div class=box><table><tr><th>moment</th><th>rows</th><th>churned</th>"
        "<th>predicted</th><th>calibration error</th><th>by chance alone</th></tr>"
        f"{rows}</table></div><p class=dim>Red: above .03, and more than twice what a perfect "
        "model would show on so many rows.</p>"
    )


def _alerts(manifest: Manifest) -> list[str]:
    chosen = manifest.alert_threshold
    if chosen is None:
        return []
    rows = "".join(
        f"<tr><td>{_bold(f'{rung.level:.3f}', rung.level == chosen.level)}</td>"
        f"<td>{rung.alerts:,}</td><td>{_percent(rung.in_time)}</td>"
        f"<td>{_percent(rung.precision)}</td><td>{_number(rung.lead_days, 1)}</td>"
        f"<td>{rung.per_1000_a_day:.1f}</td></tr>"
        for rung in reversed(chosen.rungs)
    )
    return [
        "<h2>When alerts open</h2>",
        f"<p>At {chosen.level:.3f}, unless a policy says otherwise: {escape(chosen.because)}. What "
        f"each rung would have told in {chosen.sessions:,} silences of the validation periods, "
        f"{chosen.churn_episodes:,} of them churn.</p>",
        "<div class=box><table><tr><th>opens at</th><th>alerts</th><th>churn told in time</th>"
        "<th>alerts right</th><th>days left</th><th>a day, of 1,000 active users</th></tr>"
        f"{rows}</table></div>",
    ]


def _bold(text: str, is_so: bool) -> str:
    return f"<b>{text}</b>" if is_so else text


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _off(error: float, floor: float) -> str:
    return ' class="off"' if error > max(0.03, 2 * floor) else ""


def _silence(evidence: Evidence, manifest: Manifest) -> str:
    end = manifest.grid_hours[-1] / 24
    marks = [d for d in (0.042, 0.25, 1, 3, 7, 28, 90, 365) if d <= end]
    ticks = [(d, "1 h" if d < 0.1 else "6 h" if d < 1 else f"{d:g} d") for d in marks]
    chart = lines(
        [Series(one.who, one.days, one.risk) for one in evidence.examples],
        Axis("time silent", 1 / 24, end, ticks, is_log=True), share_axis("risk"),
        "Risk over silence",
    )  # fmt: skip
    return _figure("Risk over silence", chart, "Four users at the end of the log.")


def _months(manifest: Manifest) -> str:
    months = list(manifest.base_rates)
    if len(months) < 2:
        return ""
    step = max(1, -(-len(months) // 4))
    ticks = [(float(i), months[i]) for i in range(0, len(months), step)]
    high = max(manifest.base_rates.values())
    chart = lines(
        [Series("", list(range(len(months))), list(manifest.base_rates.values()), dots=True)],
        Axis("", 0, len(months) - 1, ticks), share_axis("churn", 1.0 if high > 0.5 else 0.5),
        "Base rate by month",
    )  # fmt: skip
    return _figure("Base rate by month", chart, "Churn among users active at any instant.")


def _periods(manifest: Manifest) -> str:
    if not manifest.periods:
        return ""
    ticks = [(float(i), one.start[:7]) for i, one in enumerate(manifest.periods)]
    x = list(range(len(manifest.periods)))
    chart = lines(
        [
            Series("happened", x, [one.base_rate for one in manifest.periods], dots=True),
            Series("predicted", x, [one.predicted for one in manifest.periods], dots=True),
        ],
        Axis("validation period from", -0.3, len(x) - 0.7, ticks), share_axis("churn"),
        "Walk-forward periods",
    )  # fmt: skip
    return _figure("Walk-forward", chart, "Each period was predicted from what came before it.")


def _bars(values: dict[str, float], title: str, style: str, told: str) -> str:
    if not values:
        return ""
    names = sorted(values, key=lambda name: -values[name])
    chart = bars(names, [values[name] for name in names], style.format, title)
    return _figure(title, chart, told)


def _candidates(manifest: Manifest) -> str:
    rows = []
    for name, one in manifest.candidates.items():
        mark = ' class="chosen"' if name == manifest.candidate else ""
        title = one.title if one.is_shipped else f"{one.title} (to compare with)"
        rows.append(
            f"<tr{mark}><td>{escape(title)}</td>{_cells(one.overall)}<td>{_behind(one)}</td></tr>"
        )
    if manifest.unseen_users is not None:
        rows.append(
            f"<tr><td>chosen, on users unseen in training</td>{_cells(manifest.unseen_users)}"
            "<td></td></tr>"
        )
    rows.append(f"<tr><td>/predict, four inputs</td>{_cells(manifest.predict)}<td></td></tr>")
    head = "".join(f"<th>{name}</th>" for name in ("", *COLUMNS, "behind"))
    return f"<div class=box><table><tr>{head}</tr>{''.join(rows)}</table></div>"


def _behind(one: Comparison) -> str:
    if not one.behind_best and not one.behind_best_error:
        return "best"
    return f"{one.behind_best:+.5f} ± {one.behind_best_error:.5f}"


def _cells(got: Figures) -> str:
    values = [
        *(
            _number(v, 4)
            for v in (got.auc, got.average_precision, got.brier, got.log_loss, got.ece)
        ),
        _number(got.top_decile_lift, 2),
        f"{got.rows:,}",
    ]
    return "".join(f"<td>{value}</td>" for value in values)


def _card(manifest: Manifest) -> str:
    counts = ", ".join(
        f"{v:,} {k.replace('_', ' ')}" for k, v in manifest.rows.items() if k != "total"
    )
    facts = {
        "origin": manifest.origin,
        "log": f"{manifest.log.start[:10]} to {manifest.log.end[:10]}",
        "churn": f"{manifest.churn} of {manifest.horizon_days} days",
        "active": f"seen in the last {manifest.active_days} days",
        "rows": f"{manifest.rows['total']:,} ({counts}), as of {manifest.training.start[:10]} to "
        f"{manifest.training.end[:10]}",
        **_exceptions(manifest),
        "rows, sha256": manifest.rows_sha256[:16],
        "silence grid": f"to {manifest.grid_hours[-1] // 24} days; no score beyond",
        "features": f"{len(manifest.features)}, read from one fixed-size record per user",
        "fold rules": manifest.fold_rules,
        "seed": str(manifest.seed),
        "built with": f"scikit-learn {manifest.sklearn}, numpy {manifest.numpy}",
    }
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f'<div class="box"><dl>{items}</dl></div>'


def _exceptions(manifest: Manifest) -> dict[str, str]:
    told = {}
    if manifest.memory is not None and manifest.memory.days is not None:
        told["memory"] = f"rows of the last {manifest.memory.days} days; older ones did not help"
    if manifest.kept_inputs is not None:
        kept = manifest.kept_inputs
        told["/predict"] = f"learned from {kept.origin}, horizon {kept.horizon_days} days"
    return told


def _limits(manifest: Manifest) -> str:
    items = [
        "It predicts who will go, not whom a message would keep: a treatment needs its own test.",
        "Risk after a long silence may truly fall for a while where people buy in a rhythm; the "
        "law of silence does not allow that.",
        f"Nothing was learned about silences beyond {manifest.grid_hours[-1] // 24} days.",
        "Behaviour the log does not show (another channel, another account) counts as silence.",
    ]
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _law(manifest: Manifest) -> str:
    cost = manifest.law_of_silence
    if cost is None:
        return ""
    return f" (this policy costs {cost.log_loss:+.4f} log loss, ± {cost.error:.4f})"


def _trials(manifest: Manifest) -> str:
    told = [
        f"{name}: gain {trial.gain:+.5f} ± {trial.error:.5f}, better in {trial.better_in} of "
        f"{trial.periods} periods"
        for name, trial in manifest.calibration_trials.items()
    ]
    return f" ({escape('; '.join(told))})" if told else " (nothing to judge one on)"


def _diagonal() -> Series:
    return Series("", [0, 1], [0, 1], dashed=True)


def _thinned(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, MOST_POINTS).astype(np.intp))


def _figure(title: str, chart: str, caption: str) -> str:
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure><h3>{escape(title)}</h3>{chart}{told}</figure>"


def _grid(*charts: str) -> str:
    return f'<div class="grid3">{"".join(charts)}</div>'


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
