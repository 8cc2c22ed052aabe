"""Numbers as a person would say them."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan

_MINUTES = 24 * 60
_MONTH = 30.44
_YEAR = 365.25
_ROUNDING = 1e-6  # what a multiplication may leave short of a whole number


def count(number: float, thing: str) -> str:
    """`3 pages`, `1 page`."""
    if isnan(number):
        return f"an unknown number of {thing}s"
    return f"{number:,.10g} {thing}{'' if number == 1 else 's'}"


def span(days: float) -> str:
    """A length of time in whole minutes, hours, days, months or years, rounded down."""
    return _length(days, whole=lambda number: int(number + _ROUNDING), hours_until=48)


def every(days: float) -> str:
    """An interval, rounded: `every 2 days`, `every day`."""
    if 0.9 <= days < 1.5:
        return "every day"
    return f"every {around(days).removeprefix('1 ')}"


def around(days: float) -> str:
    """A length of time, rounded: `10 hours`, `2 days`."""
    return _length(days, whole=round, hours_until=36)


def _length(days: float, whole: Callable[[float], int], hours_until: int) -> str:
    minutes = days * _MINUTES
    for unit, length, until in (
        ("minute", 1, 90),
        ("hour", 60, hours_until * 60),
        ("day", _MINUTES, 120 * _MINUTES),
        ("month", _MONTH * _MINUTES, 730 * _MINUTES),
    ):
        if minutes < until:
            return count(whole(minutes / length), unit)
    return count(whole(days / _YEAR), "year")


def rate(daily: float) -> str:
    """Active days per day in the unit that reads best: `2.9 days a week`, a month, a year."""
    unit = _unit(daily)
    return f"{daily * _UNITS[unit]:.1f} days a {unit}"


def rates(late: float, other: float) -> str:
    """Two rates in the unit that suits the larger: `1.3 days a month of late; 2.0`."""
    unit = _unit(max(late, other))
    return f"{late * _UNITS[unit]:.1f} days a {unit} of late; {other * _UNITS[unit]:.1f}"


_UNITS = {"week": 7.0, "month": _MONTH, "year": _YEAR}


def _unit(daily: float) -> str:
    return next((unit for unit, days in _UNITS.items() if daily * days >= 1), "year")
