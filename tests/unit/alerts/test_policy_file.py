"""Policy files: what they come to, and what is said of mistakes in them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.policy_file import DEFAULT, parse, read
from alerts.rules import Holdout, Rule, Selection
from contracts.errors import Misconfigured
from contracts.times import DAY_MS, HOUR_MS

EXAMPLE = Path(__file__).parents[3] / "alerts" / "policy.example.yaml"

HOOK = """
channels:
  - {name: crm, kind: slack, url: https://hooks.example.com/a}
"""


def test_a_rule_is_the_default_rule_where_it_says_nothing() -> None:
    """But for its name, and that whom the cooldown held back is looked at when it ends."""
    policy = parse("rules:\n  - name: default\n")

    assert (Rule(looks_again=True),) == policy.rules
    assert ((), Holdout()) == (policy.channels, policy.holdout)


def test_every_field_arrives() -> None:
    """What is written is what is in force."""
    policy = parse(
        """
rules:
  - name: big
    threshold: 0.6
    resolve_below: 0.4
    for: 90m
    cooldown: 1.5d
    escalation: {step: 0.2, severity: critical}
    severity: info
    active_days: {at_least: 1, at_most: 2}
    where: {plan: [pro, Team], location: OSLO, value: {at_least: 100}}
    channels: crm
    quiet_hours: {from: "22:00", until: "07:00", zone: Europe/Oslo, days: [sat, sun]}
    max_per_hour: 5
    words: " Call them. "
  - name: rest
    threshold: top 20 a day
holdout: {share: 0.25, epoch: autumn}
storm: {share: 0.5}
"""
        + HOOK
    )

    big, rest = policy.rules
    assert (
        Rule(
            "big", 0.6, 0.4, 0.2, round(1.5 * DAY_MS), 1, 2,
            for_ms=HOUR_MS * 3 // 2, severity="info", escalated_severity="critical",
            where=(
                Selection("location", ("oslo",)),
                Selection("plan", ("pro", "team")),
                Selection("value", at_least=100.0),
            ),
            looks_again=True, channels=("crm",), quiet_hours=big.quiet_hours, max_per_hour=5,
            words="Call them.",
        )
        == big
    )  # fmt: skip
    assert big.quiet_hours is not None
    assert ("22:00", "Europe/Oslo") == (big.quiet_hours.start, big.quiet_hours.zone)
    assert (20.0, None, None) == (rest.top, rest.threshold, rest.resolve_below)
    assert (Holdout(0.25, "autumn"), 0.5) == (policy.holdout, policy.storm.share)
    assert ["crm"] == [channel.name for channel in policy.channels]


def test_the_example_is_a_policy() -> None:
    """The file that is shipped to be copied."""
    assert ["large-accounts", "onboarding", "everybody"] == [
        rule.name for rule in read(EXAMPLE).rules
    ]


def test_the_digest_names_what_is_said() -> None:
    """Comments, order and what is so anyway do not change it; any value does."""
    plain = parse("rules:\n  - name: a\n    threshold: 0.8\n" + HOOK)
    same = parse(
        HOOK + "# hm\nrules:\n  - threshold: 0.80\n    name: a\n    cooldown: 168h\nversion: 1\n"
    )
    others = [
        parse("rules:\n  - name: a\n    threshold: 0.81\n" + HOOK),
        parse("rules:\n  - name: b\n    threshold: 0.8\n" + HOOK),
        parse("rules:\n  - name: a\n    threshold: 0.8\n" + HOOK.replace("com/a", "com/b")),
        parse("rules:\n  - name: a\n    threshold: 0.8\nholdout: {share: 0.1}\n" + HOOK),
        DEFAULT,
    ]

    assert plain.digest == same.digest
    assert 1 + len(others) == len({plain.digest, *(other.digest for other in others)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "begins with `rules:`"),
        ("- a", "begins with `rules:`"),
        ("rules: []", "line 1: rules: write at least one"),
        ("holdout: {}", "line 1: rules: this field is missing: add it"),
        ("rules:\n  - threshold: 0.5\n", "line 2: rules[1].name: this field is missing: add it"),
        ("rules:\n  - name: A b\n", "line 2: rules[1].name:"),
        (
            "rules:\n  - name: a\n    treshold: 0.5\n",
            "line 3: rules[1].treshold: there is no such field: use name, threshold,",
        ),
        (
            "rules:\n  - name: a\n    threshold: 7\n",
            "line 3: rules[1].threshold: write a probability between 0 and 1",
        ),
        (
            "rules:\n  - name: a\n    threshold: top 20\n",
            "line 3: rules[1].threshold: write a probability such as 0.7, `auto`, or ",
        ),
        ("rules:\n  - name: a\n    threshold: top 0 a day\n", "write a probability such as"),
        ("rules:\n  - name: a\n    threshold: true\n", "write a probability between"),
        ("rules:\n  - name: a\n    resolve_below: '0.4'\n", "line 3: rules[1].resolve_below: must"),
        (
            "rules:\n  - name: a\n    for: 30\n",
            "line 3: rules[1].for: write a number and its unit, such as 45s, 30m, 12h or 7d",
        ),
        ("rules:\n  - name: a\n    cooldown: 1 week\n", "line 3: rules[1].cooldown: write a num"),
        (
            "rules:\n  - name: a\n    threshold: 0.4\n    resolve_below: 0.5\n",
            "line 2: rules[1]: resolve_below (0.5) is above threshold (0.4), so an episode would "
            "resolve at the risk that opens it: set it to 0.4 or less",
        ),
        (
            "rules:\n  - name: a\n    threshold: top 3 a day\n    for: 1h\n",
            "line 2: rules[1]: `for` cannot go with `top N a day`",
        ),
        (
            "rules:\n  - name: a\n    active_days: {at_most: 2}\n",
            "line 3: rules[1].active_days: at_most (2) is less than at_least (3)",
        ),
        (
            "rules:\n  - name: a\n  - name: a\n",
            "line 3: rules[2].name: another rule is called 'a': rename one",
        ),
        (
            "rules:\n  - name: a\n    channels: [crm, sms]\n" + HOOK,
            "line 3: rules[1].channels: there is no channel 'sms': add it under `channels`, or "
            "name one of crm",
        ),
        (
            "rules:\n  - name: a\n    quiet_hours: {from: '1', until: '02:00', zone: Oslo}\n",
            "line 3: rules[1].quiet_hours.from: must be a time of day",
        ),
        (
            "rules:\n  - name: a\n    where:\n      plan: pro\n      colour: red\n",
            "line 5: rules[1].where.colour: there is no such field: use location,",
        ),
        ("rules:\n  - name: a\n    where: {value: 5}\n", "where.value: write fields here"),
        ("rules:\n  - name: a\nholdout: {share: 2}\n", "line 3: holdout.share: must be less"),
        ("rules:\n  - name: a\n    name: b\n", "line 3: 'name' stands here twice: remove one"),
        ("rules: [\n", "line 2: expected the node content"),
        ("rules: !!python/name:os.system\n", "could not determine a constructor"),
        ("a: &a [*a]", "rules: this field is missing"),
        ("? [a]\n: b", ""),
        ("1: 2", ""),
        ("[" * 5_000, "not YAML"),
        ("rules: \x00", ""),
        (
            "rules:\n  - name: a\nchannels:\n  - {name: x, kind: fax}\n",
            "line 4: channels[1]: Input tag 'fax'",
        ),
    ],
)
def test_a_mistake_is_named_with_line_field_and_remedy(text: str, expected: str) -> None:
    """Whatever is wrong, it is refused, with the place where there is one."""
    with pytest.raises(Misconfigured) as refusal:
        parse(text)

    assert expected in str(refusal.value)


def test_all_mistakes_are_told_at_once() -> None:
    """One line each, with the file's name."""
    with pytest.raises(Misconfigured) as refusal:
        parse("rules:\n  - name: a\n    for: 3\n    cooldown: 4\n    colour: 5\n", "p.yaml")

    assert ["p.yaml, line 3", "p.yaml, line 4", "p.yaml, line 5"] == sorted(
        line.split(":")[0] for line in str(refusal.value).splitlines()
    )


def test_secrets_are_not_repeated() -> None:
    """An address that is refused may hold a token."""
    text = "rules:\n  - name: a\nchannels:\n  - {name: x, kind: slack, url: 'ftp://tok3n/x'}\n"

    with pytest.raises(Misconfigured) as refusal:
        parse(text)

    assert "tok3n" not in str(refusal.value)


@given(st.text() | st.text("rules: -nameabt{}[]&*!\n ", min_size=1))
def test_any_text_is_a_policy_or_is_refused(text: str) -> None:
    """Nothing but Misconfigured comes out of a bad file."""
    with suppress(Misconfigured):
        assert parse(text).rules


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A missing file, one that is no text, one that is huge."""
    binary, huge = tmp_path / "binary", tmp_path / "huge"
    binary.write_bytes(b"\xff\xfe")
    huge.write_bytes(b"#" * 1_000_001)

    for path, expected in (
        (tmp_path / "none", "cannot read"),
        (binary, "not UTF-8"),
        (huge, "larger than"),
    ):
        with pytest.raises(Misconfigured, match=expected):
            read(path)
