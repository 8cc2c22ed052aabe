"""The guide to the features, made from their own descriptions.

`python -m model.feature_guide --write docs/features.md` writes it; a test keeps it current.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from model.features import FEATURES, PREDICT_INPUTS, Feature

_HEAD = """# What a model sees of a user

Made by `python -m model.feature_guide --write docs/features.md`; `GET /model` says the same.

Every feature is one of three kinds, so that what silence does to it is known beforehand:

- **frozen**: as it was at the user's last event; silence leaves it alone;
- **fading**: never rises in silence (decayed counts fall smoothly, windows at midnight UTC);
- **recency**: never falls in silence.

Longer silence therefore never lowers the risk: recency may only raise it, fading only lower it.
There is no ratio of windows and no clock of the score: both would move in silence for no reason a
person could name. What is unknown stays unknown (NaN), and nothing is filled in while a user is
silent. A score as of a moment before the last visit reads like one at the visit.
"""
_FULL = "## Of a record"
_INPUTS = "## Of a `/predict` request"
_COLUMNS = ("feature", "kind", "unit", "range", "definition", "why")


def guide() -> str:
    """The guide as Markdown."""
    parts = [_HEAD, _FULL, _table(FEATURES), _INPUTS, _table(PREDICT_INPUTS)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table(features: tuple[Feature, ...]) -> str:
    rows = [
        _COLUMNS,
        tuple("---" for _ in _COLUMNS),
        *(
            (f"`{f.name}`", f.kind, f.unit, f"{f.low:,.6g} to {f.high:,.6g}", f.definition, f.why)
            for f in features
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Write the guide to a file."""
    parser = argparse.ArgumentParser(prog="python -m model.feature_guide", description=__doc__)
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="where it goes")
    parser.parse_args().write.write_text(guide())


if __name__ == "__main__":
    main()
