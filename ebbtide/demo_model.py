"""The model a fresh installation starts with: learned from a simulated population.

Its figures show that the machinery works and say nothing about anybody's users.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from contracts.activity import FoldRules
from contracts.errors import ArtefactMismatch
from model.artefact import (
    MANIFEST_FILE,
    MODEL_FILE,
    QUALITY_FILE,
    load,
    read_manifest,
    require_rules,
)
from model.event_log import event_log
from model.simulator import Population, simulate
from model.training import LearnedInputs, Say, Trained, TrainingSettings, learn_inputs, train
from runtime.settings import ServiceSettings

ORIGIN: Final = "simulator"
POPULATION: Final = Population(users=2_000, days=180, seed=7)
SETTINGS: Final = TrainingSettings(horizon_days=14, active_days=30, rows=24_000, seed=7)


def ensure(folder: Path) -> None:
    """Make sure `folder` holds a model; trains the demo model, in under a minute, if it has none.

    A demo model that no longer fits this build is made anew. Anybody else's is left alone: raises
    ArtefactMismatch saying why it does not load.
    """
    rules = ServiceSettings().fold_rules
    why = f"no model in {folder}"
    # Either file shows that somebody put a model here.
    if (folder / MANIFEST_FILE).exists() or (folder / MODEL_FILE).exists():
        try:
            model = load(folder)
            require_rules(model, rules)
        except ArtefactMismatch as error:
            if read_manifest(folder).origin != ORIGIN:
                raise
            why = f"the demo model is of no use any more ({error})"
        else:
            if model.origin != ORIGIN or QUALITY_FILE in model.manifest.beside:
                return
            why = "the demo model does not tell what its page shows"
    _say(f"{why}: training one on a simulated population, under a minute")
    model = train_demo_model(POPULATION, SETTINGS, rules, say=_say).save(folder)
    _say(f"model {model.version} written to {folder}")


def train_demo_model(
    population: Population, settings: TrainingSettings, rules: FoldRules, *, say: Say
) -> Trained:
    """Simulate the population and learn from its log."""
    log = event_log(simulate(population), rules)
    say(f"simulated {len(log):,} events of {len(log.user_ids):,} users")
    return train(log, settings, rules, origin=ORIGIN, say=say)


def four_inputs(rules: FoldRules) -> LearnedInputs:
    """The demo model's four-input estimator, made anew: the same to the byte."""
    log = event_log(simulate(POPULATION), rules)
    return learn_inputs(log, SETTINGS, rules, origin=ORIGIN)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
