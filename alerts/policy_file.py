"""The policy file: YAML in, a `Policy` out, or what to mend on which line.

`docs/alerts.md` is its reference. Everything is strict: an unknown field, a misspelt unit or a
rule that could never speak is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from alerts.delivery.channels_config import Channel, Delivery, QuietHours, Storm
from alerts.rules import DEFAULT, Attribute, Holdout, Policy, Rule, Selection
from contracts.alerts import Severity
from contracts.errors import Misconfigured
from contracts.events import normalise
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

__all__ = ["DEFAULT", "Policy", "Rule", "parse", "read"]

MAX_BYTES: Final = 1_000_000
_UNITS: Final = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_TOP = re.compile(r"top\s+(\d+(?:\.\d+)?)\s+a\s+day")
_LONGEST_MS: Final = 3650 * DAY_MS
AUTO: Final = "auto"
"""A threshold that is left to the model."""


def _duration(value: object) -> object:
    """Milliseconds of a text such as 30m; everything else is refused."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a number and its unit, such as 45s, 30m, 12h or 7d")
    return round(float(match[1]) * _UNITS[match[2]])


def _threshold(value: object) -> object:
    """A probability as it is, `auto` as None, `top 20 a day` as its number."""
    if value == AUTO:
        return None
    if isinstance(value, str):
        match = _TOP.fullmatch(value.strip())
        if match is None or not float(match[1]) > 0:
            raise ValueError("write a probability such as 0.7, `auto`, or `top 20 a day`")
        return {"top": float(match[1])}
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(
            "write a probability between 0 and 1 such as 0.7, `auto`, or `top 20 a day`"
        )
    return float(value)


def _names(value: object) -> object:
    """One name as a list of one."""
    return [value] if isinstance(value, str) else value


def _normalised(names: tuple[str, ...]) -> tuple[str, ...]:
    """As the names in scores are, so that Berlin selects berlin."""
    return tuple(dict.fromkeys(map(normalise, names)))


Duration = Annotated[int, BeforeValidator(_duration), Field(ge=0, le=_LONGEST_MS)]
Probability = Annotated[float, Field(gt=0, lt=1, strict=True)]
Count = Annotated[int, Field(strict=True)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$", strict=True)]
Names = Annotated[
    tuple[Annotated[str, StringConstraints(strict=True, min_length=1)], ...],
    BeforeValidator(_names),
    Field(min_length=1),
]


Categories = Annotated[Names, AfterValidator(_normalised)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Top(_Model):
    top: float


class AtLeast(_Model):
    """A number of at least so much."""

    at_least: Annotated[float, Field(strict=False)]


class Where(_Model):
    """Users by their attributes; all that are given must hold."""

    location: Categories | None = None
    referral_source: Categories | None = None
    device_type: Categories | None = None
    plan: Categories | None = None
    value: AtLeast | None = None

    def selections(self) -> tuple[Selection, ...]:
        """The same as values."""
        names: tuple[Attribute, ...] = ("location", "referral_source", "device_type", "plan")
        made = [
            Selection(name, among=among)
            for name in names
            if (among := getattr(self, name)) is not None
        ]
        if self.value is not None:
            made.append(Selection("value", at_least=self.value.at_least))
        return tuple(made)


class Escalation(_Model):
    """When a rising risk is worth another alert, and how severe it is then."""

    step: Probability = DEFAULT.rules[0].escalation_step
    severity: Severity | None = None


class Evidence(_Model):
    """Active days behind a score."""

    at_least: Annotated[Count, Field(ge=0, le=10_000)] = DEFAULT.rules[0].least_active_days
    at_most: Annotated[Count, Field(ge=0, le=10_000)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Evidence:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(
                f"at_most ({self.at_most}) is less than at_least ({self.at_least}), so nobody "
                "is ever meant: set at_least, which is 3 unless given, no higher"
            )
        return self


class FileRule(_Model):
    """One rule as the file has it."""

    name: Name
    threshold: Annotated[float | _Top | None, BeforeValidator(_threshold)] = None
    resolve_below: Probability | None = None
    for_: Annotated[Duration, Field(alias="for")] = 0
    cooldown: Duration = DEFAULT.rules[0].cooldown_ms
    escalation: Escalation = Escalation()
    severity: Severity = "warning"
    active_days: Evidence = Evidence()
    where: Where = Where()
    channels: Names | tuple[()] = ()
    quiet_hours: QuietHours | None = None
    max_per_hour: Annotated[Count, Field(ge=1)] | None = None
    words: Annotated[str, StringConstraints(strict=True, max_length=500)] = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> FileRule:
        if isinstance(self.threshold, _Top):
            if self.for_:
                raise ValueError(
                    "`for` cannot go with `top N a day`: who is among the top is asked once; "
                    "leave out one of them"
                )
        elif (
            self.threshold is not None
            and self.resolve_below is not None
            and self.resolve_below > self.threshold
        ):
            raise ValueError(
                f"resolve_below ({self.resolve_below}) is above threshold ({self.threshold}), so "
                "an episode would resolve at the risk that opens it: set it to "
                f"{self.threshold} or less"
            )
        return self

    def rule(self) -> Rule:
        """The same as a value."""
        top = self.threshold.top if isinstance(self.threshold, _Top) else None
        return Rule(
            name=self.name,
            threshold=None if isinstance(self.threshold, _Top) else self.threshold,
            resolve_below=self.resolve_below,
            escalation_step=self.escalation.step,
            cooldown_ms=self.cooldown,
            least_active_days=self.active_days.at_least,
            most_active_days=self.active_days.at_most,
            top=top,
            for_ms=self.for_,
            severity=self.severity,
            escalated_severity=self.escalation.severity,
            where=self.where.selections(),
            looks_again=True,
            channels=tuple(self.channels),
            quiet_hours=self.quiet_hours,
            max_per_hour=self.max_per_hour,
            words=self.words.strip(),
        )


class FileHoldout(_Model):
    """The experiment as the file has it."""

    share: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    epoch: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100)] = "1"


class PolicyFile(_Model):
    """The whole file."""

    version: Literal[1] = 1
    rules: Annotated[tuple[FileRule, ...], Field(min_length=1, max_length=100)]
    channels: tuple[Channel, ...] = ()
    storm: Storm = Storm()
    holdout: FileHoldout = FileHoldout()

    @model_validator(mode="after")
    def _delivers(self) -> PolicyFile:
        Delivery(channels=self.channels, storm=self.storm)
        return self

    def loose_ends(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What is wrong between rules and channels: where, and what to do."""
        names = [rule.name for rule in self.rules]
        known = [channel.name for channel in self.channels]
        for i, rule in enumerate(self.rules):
            if rule.name in names[:i]:
                yield ("rules", i, "name"), f"another rule is called {rule.name!r}: rename one"
            for name in rule.channels:
                if name not in known:
                    instead = f", or name one of {', '.join(known)}" if known else ""
                    message = f"there is no channel {name!r}: add it under `channels`{instead}"
                    yield ("rules", i, "channels"), message

    def policy(self) -> Policy:
        """The same as a value."""
        return Policy(
            tuple(rule.rule() for rule in self.rules),
            self.channels,
            self.storm,
            Holdout(self.holdout.share, self.holdout.epoch),
        )


def read(path: Path) -> Policy:
    """Read a policy file; raises Misconfigured saying which line to mend and how."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Misconfigured(f"{path} is larger than {MAX_BYTES} bytes: no policy file")
        text = path.read_text("utf-8")
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not UTF-8: save it as UTF-8") from error
    return parse(text, str(path))


def parse(text: str, name: str = "the policy") -> Policy:
    """Read the text of a policy file; raises Misconfigured with every mistake in it."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.load(text, Loader=_Unique)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        raise Misconfigured(f"{name}{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Misconfigured(f"{name}: not YAML: {error}") from error
    if not isinstance(content, dict):
        raise Misconfigured(
            f"{name}: a policy is a mapping that begins with `rules:` and has a list under it"
        )
    try:
        file = PolicyFile.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        # A list with a bad item is also said to be too short.
        found = [m for m in found if m["type"] != "too_short" or len(found) == 1] or found
        said = [_said(name, node, m["loc"], _message(m)) for m in found]
        raise Misconfigured("\n".join(dict.fromkeys(said))) from error
    said = [_said(name, node, loc, message) for loc, message in file.loose_ends()]
    if said:
        raise Misconfigured("\n".join(said))
    return file.policy()


class _Unique(yaml.SafeLoader):
    """Refuses a key that comes twice: one of the two would silently be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a field's name is a word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} stands here twice: remove one", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_WORDS: Final = {
    "extra_forbidden": "there is no such field{known}",
    "missing": "this field is missing: add it",
    "too_short": "write at least one",
    "tuple_type": "write a list, one `- ` a line",
    "model_type": "write fields here, one `name: value` a line",
    "union_tag_not_found": "this field is missing: add `kind:`",
}
_FIELDS: Final[dict[str, type[BaseModel]]] = {
    "": PolicyFile,
    "rules": FileRule,
    "where": Where,
    "value": AtLeast,
    "escalation": Escalation,
    "active_days": Evidence,
    "holdout": FileHoldout,
    "storm": Storm,
    "quiet_hours": QuietHours,
}


def _message(mistake: ErrorDetails) -> str:
    """What to do about a mistake, in the words of the file."""
    words = _WORDS.get(mistake["type"])
    if words is not None:
        return words.format(known=_known(mistake["loc"][:-1]))
    return mistake["msg"].removeprefix("Value error, ").replace("Input should be", "must be")


def _said(name: str, root: yaml.Node | None, loc: Sequence[str | int], message: str) -> str:
    """A mistake as file, line, field, and what to do."""
    line, path = _place(root, loc)
    field = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
    return f"{name}, line {line}: {field + ': ' if field else ''}{message}"


def _known(path: Sequence[str | int]) -> str:
    """The fields there are in a mapping of the file."""
    inside = next((part for part in reversed(path) if isinstance(part, str)), "")
    model = _FIELDS.get(inside)
    if model is None:
        return ""
    fields = (field.alias or name for name, field in model.model_fields.items())
    return ": use " + ", ".join(fields)


def _place(root: yaml.Node | None, loc: Sequence[str | int]) -> tuple[int, list[str | int]]:
    """Line of the innermost part of `loc` that stands in the file, and the parts up to there.

    pydantic puts names of alternatives into its path; they stand nowhere and are passed over.
    """
    node = root
    line = 1 if root is None else root.start_mark.line + 1
    path: list[str | int] = []
    for i, part in enumerate(loc):
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    path.append(part)
                    break
            else:
                if i == len(loc) - 1 and isinstance(part, str):
                    path.append(part)  # what is missing
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
            path.append(part)
    return line, path
