"""Where a channel may not reach: the guard against requests forged through the configuration.

A name is resolved once, every address it has is checked, and the connection goes to one of the
checked addresses, so that a name that resolves differently the next moment gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

from contracts.errors import ChurnError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")


class Forbidden(ChurnError):
    """The address is one that a channel may not reach."""


class Unresolved(ChurnError):
    """The name has no address at the moment."""


def why_forbidden(text: str, *, allow_private: bool) -> str | None:
    """Why an address may not be reached, None when it may.

    `allow_private` lets private networks and loopback through, never link-local addresses (cloud
    metadata lives there), multicast or unspecified ones. Raises ValueError for no address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    for inner in (address, *_embedded(address)):
        if reason := _why(inner, allow_private=allow_private):
            return f"{text} {reason}"
    return None


def _why(address: Address, *, allow_private: bool) -> str | None:
    for applies, words in (
        (address.is_unspecified, "is no address of a host"),
        (address.is_multicast, "is a multicast address"),
        (address.is_link_local, "is link-local, where cloud metadata is served"),
        (_reserved(address), "is reserved"),
    ):
        if applies:
            return words
    if allow_private or _embedded(address):  # what wraps another is judged by that one
        return None
    if address.is_loopback:
        return "is a loopback address"
    return None if address.is_global else "is a private address"


def _reserved(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_reserved
    if address.is_loopback or _embedded(address):
        return False
    return address.is_reserved or address in _SITE_LOCAL


def _embedded(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 one, through which a gateway may reach them."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    found = []
    if address.ipv4_mapped is not None:
        found.append(address.ipv4_mapped)
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found += address.teredo
    last = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _NAT64 or address in _NAT64_LOCAL:
        found.append(last)
    if address in _COMPATIBLE and int(address) > 1:
        found.append(last)
    return tuple(found)


async def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a host, in the system's order; raises Unresolved."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unresolved(f"{host} cannot be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked(
    host: str, port: int, *, allow_private: bool, resolving: Resolve = resolve
) -> Sequence[str]:
    """The addresses of a host, all of them allowed; raises Forbidden and Unresolved.

    One forbidden address among several is enough: a name that points inside and outside is meant to
    get in.
    """
    addresses = await resolving(host, port)
    if not addresses:
        raise Unresolved(f"{host} has no address")
    for address in addresses:
        if reason := why_forbidden(address, allow_private=allow_private):
            raise Forbidden(
                f"{host}: {reason}; allow_private lets a channel reach private and loopback "
                "addresses"
            )
    return addresses
