"""Where a name leads, looked up once and judged before a socket opens (SEC-032).

Whoever connects then uses the address that was judged, with the name for TLS and ``Host``: a second look-up could give
another one.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

__all__ = ["ForbiddenAddress", "Resolve", "is_forbidden", "resolve_safely"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → its addresses as text; raises ``OSError``."""

_MOST_ADDRESSES: Final = 16
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
"""Where clouds give their machines' credentials away."""
_PRIVATE: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_6TO4: Final = ipaddress.ip_network("2002::/16")


class ForbiddenAddress(Exception):
    """A name leads where nobody may be sent."""


async def resolve_safely(host: str, port: int, *, private: bool, loopback: bool, resolve: Resolve | None = None) -> str:
    """Look a host up once and give the first of its addresses, if none of them is forbidden.

    Args:
        host: A name or an address, without brackets.
        port: Of the service.
        private: Whether addresses of private networks are allowed, as hospitals' are.
        loopback: Whether this machine itself is: a lab, the sandbox.
        resolve: The resolver; the system's by default.

    Raises:
        ForbiddenAddress: One of the addresses is forbidden; a name with a good and a bad one is refused as a whole.
        OSError: There is no such name, or the resolver fails.
    """
    found = await (resolve or _system)(host, port)
    if not found or len(found) > _MOST_ADDRESSES:
        raise ForbiddenAddress
    for one in found:
        if is_forbidden(one, private=private, loopback=loopback):
            raise ForbiddenAddress
    return found[0]


def is_forbidden(text: str, *, private: bool, loopback: bool) -> bool:
    """Whether nobody may be sent to an address; what is no address is."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, ipaddress.IPv6Address) and _inner(address) is not None:
        return True  # an IPv4 address in disguise: nobody writes one who means no harm
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return True
    if address.is_loopback:
        return not loopback
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return not private
    return address.is_reserved or not address.is_global


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour if address in _6TO4 else None


async def _system(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
