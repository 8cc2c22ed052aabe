"""Which addresses a channel may reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.delivery.address import Forbidden, Unresolved, checked, why_forbidden

INSIDE = [
    *("127.0.0.1", "127.255.255.254", "::1"),
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.100.100.200"),
    *("fd00::1", "fc00::1", "fd00:ec2::254"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "::10.0.0.1"),
]
NEVER = [
    *("169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "0.0.0.0", "::"),
    *("224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
]
OUTSIDE = ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", INSIDE)
def test_private_addresses_need_to_be_allowed(address: str) -> None:
    """Loopback, private, carrier-grade and unique local ones, also inside an IPv6 address."""
    assert why_forbidden(address, allow_private=False)
    assert why_forbidden(address, allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_allowed(address: str) -> None:
    """Cloud metadata, multicast, unspecified and reserved ones."""
    assert why_forbidden(address, allow_private=False)
    assert why_forbidden(address, allow_private=True)


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_addresses_may_be_reached(address: str) -> None:
    """Everything else would be of no use."""
    assert why_forbidden(address, allow_private=False) is None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_inside_ipv6(
    address: ipaddress.IPv4Address,
) -> None:
    """Mapped, translated or tunnelled: a detour through IPv6 gains nothing."""
    number = int(address)
    wrapped = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
    ]
    for allow in (False, True):
        forbidden = why_forbidden(str(address), allow_private=allow) is not None
        assert {forbidden} == {
            why_forbidden(str(one), allow_private=allow) is not None for one in wrapped
        }


@given(st.ip_addresses())
def test_what_is_allowed_without_leave_is_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Nothing the standard library calls private, loopback or link-local gets through by itself."""
    inner = getattr(address, "ipv4_mapped", None) or address
    if why_forbidden(str(address), allow_private=False) is None:
        assert [False] * 3 == [inner.is_loopback, inner.is_link_local, inner.is_multicast]
        tunnelled = isinstance(inner, ipaddress.IPv6Address) and (
            inner.sixtofour is not None or str(inner).startswith("64:ff9b") or int(inner) < 2**32
        )
        assert tunnelled or not inner.is_private


def told(*addresses: str) -> object:
    async def resolving(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolving


async def test_one_forbidden_address_among_several_is_enough() -> None:
    """A name that points inside and outside is meant to get in."""
    resolving = told("93.184.216.34", "10.0.0.1")

    with pytest.raises(Forbidden, match=r"a\.example: 10\.0\.0\.1 is a private address"):
        await checked("a.example", 443, allow_private=False, resolving=resolving)  # type: ignore[arg-type]


async def test_a_name_without_an_address_is_for_later() -> None:
    """A resolver that is away is no reason to give up."""
    with pytest.raises(Unresolved):
        await checked("a.example", 443, allow_private=False, resolving=told())  # type: ignore[arg-type]
