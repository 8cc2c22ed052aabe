"""Nobody's tenure is guessed from where a log happens to begin."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.record import blank_facts
from contracts.times import DAY_MS, NEVER
from model.features import FEATURES, PREDICT_INPUTS, features, predict_inputs
from model.tenure import with_known_tenure
from tests.unit.model.people import NOON, facts_of, visits

TENURE = [feature.name for feature in FEATURES].index("tenure_days")
SIGNUP = [feature.name for feature in PREDICT_INPUTS].index("days_since_signup")
AS_OF = NOON + 100 * DAY_MS


@given(
    first=st.integers(0, 80),
    since=st.integers(0, 80),
    signed_up=st.none() | st.integers(0, 500),
)
def test_tenure_is_known_by_a_sign_up_or_by_a_first_visit_late_enough(first, since, signed_up):
    """
    Otherwise it is missing, and nothing else is.
    """
    claim = NEVER if signed_up is None else NOON - signed_up * DAY_MS
    seen = [NOON + (first + day) * DAY_MS for day in (0, 5, 9)]
    facts = facts_of(visits(*seen, signup_at=claim))
    full, four = features(facts, AS_OF), predict_inputs(facts, AS_OF)
    known = signed_up is not None or first >= since
    limit = NOON + since * DAY_MS

    for values, columns, place in ((full, FEATURES, TENURE), (four, PREDICT_INPUTS, SIGNUP)):
        got = with_known_tenure(values, facts, limit, columns)
        assert known == ~np.isnan(got[0, place])
        others = np.delete(np.arange(len(columns)), place)
        np.testing.assert_array_equal(values[:, others], got[:, others])
        assert not np.isnan(values[0, place])


def test_a_model_that_knows_every_tenure_blanks_none():
    """
    So do models of before; and who was never seen has none to blank.
    """
    facts = np.concatenate([facts_of(visits(NOON)), blank_facts(1)])
    values = features(facts, AS_OF)

    np.testing.assert_array_equal(values, with_known_tenure(values, facts, None, FEATURES))
    np.testing.assert_array_equal(values[1:], with_known_tenure(values, facts, AS_OF, FEATURES)[1:])
