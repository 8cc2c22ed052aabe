"""Check BG/NBD against the paper's own data: what Fader, Hardie and Lee (2005) found on CDNOW.

    python -m bench.cdnow cdnow_customers_summary.csv

The file has a line for each of 2,357 customers of the CDNOW sample: repeat purchases, week of the
last one, weeks observed (columns `frequency`, `recency`, `T`). It is public research data without a
stated licence, so it is not in this repository; the PyPI package `lifetimes` 0.11.3 ships it:

    pip download lifetimes==0.11.3 --no-deps
    python -m zipfile -e Lifetimes-0.11.3-py3-none-any.whl lifetimes
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import astuple
from pathlib import Path
from typing import Final

import numpy as np

from model.bgnbd import BgNbd, Buying, fit_bgnbd

SHA256: Final = "09d92ca80daaabe8be0f997d4c539f9c9606106baa5b199081fe01cbce5fa9f6"
PUBLISHED: Final = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
PUBLISHED_LOG_LIKELIHOOD: Final = -9582.4
NAMES: Final = ("r", "alpha", "a", "b")


def main() -> int:
    """Print the fit beside what was published; 1 when they differ in the digits printed there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    digest = hashlib.sha256(args.file.read_bytes()).hexdigest()
    if digest != SHA256:
        print(f"note: sha256 {digest}, expected {SHA256}: another edition of the data")
    buying = read(args.file)
    found = fit_bgnbd(buying)
    likelihood = float(found.log_likelihood(buying).sum())
    print(f"{len(buying.repeats):,} customers, {buying.repeats.sum():,.0f} repeat purchases")
    print(f"{'':<16}{'found':>12}{'published':>12}")
    is_same = abs(likelihood - PUBLISHED_LOG_LIKELIHOOD) < 0.05
    for name, ours, theirs in zip(NAMES, astuple(found), astuple(PUBLISHED), strict=True):
        print(f"{name:<16}{ours:>12.4f}{theirs:>12.3f}")
        is_same &= abs(ours - theirs) < 6e-4
    print(f"{'log-likelihood':<16}{likelihood:>12.3f}{PUBLISHED_LOG_LIKELIHOOD:>12.1f}")
    print("as published" if is_same else "NOT as published")
    return not is_same


def read(path: Path) -> Buying:
    """Repeat purchases, week of the last, weeks observed, of each customer in a CSV file."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    return Buying(table["frequency"], table["recency"], table["T"])


if __name__ == "__main__":
    raise SystemExit(main())
