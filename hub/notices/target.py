"""Where a notice may be sent: addresses are judged, never names (pure).

A webhook's address is written by a user, so it may point back into the network that the hub stands
in (OWASP API7:2023, server side request forgery). A name proves nothing, because whoever owns it
decides at any moment what it means; so the rules below judge every address that a name resolves to,
and the connection is made to a judged address.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_MAX: Final = 2000
HOST_MAX: Final = 253
PORTS: Final = {"https": 443, "http": 80}

_SPECIAL_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
"""IANA IPv4 special-purpose registry (RFC 6890 and later) and multicast: not for the public net."""

_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
"""The only range of IPv6 that is assigned to hosts of the public net (RFC 4291, 2.4)."""
_SPECIAL_V6: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
"""Protocol assignments with Teredo, documentation, and 6to4, which hides an IPv4 address."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that is really reached."""

_HOST: Final = re.compile(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


class TargetError(ValueError):
    """This cannot be, or may not be, the target of a notice; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked address of a receiver, taken apart."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query; always begins with a slash."""

    @property
    def authority(self) -> str:
        """What header ``Host`` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """A network of one's own that may be reached although it is not public."""

    network: Network
    ports: frozenset[int]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far notices may go: the public net on `ports` by TLS, and what is `allowed` beside it."""

    ports: frozenset[int] = frozenset({443})
    allowed: tuple[Allowed, ...] = ()

    def refusal(self, target: Target, address: Address) -> str | None:
        """Say why `target` may not be sent to at `address`, or None when it may."""
        for allowed in self.allowed:
            if address.version == allowed.network.version and address in allowed.network:
                return (
                    None if target.port in allowed.ports else f"port {target.port} is not allowed"
                )
        if not is_public(address):
            return f"{address} is not an address of the public internet"
        if target.scheme != "https":
            return "outside of allowed networks only https is used"
        return None if target.port in self.ports else f"port {target.port} is not allowed"

    def choose(self, target: Target, addresses: Sequence[Address]) -> list[Address]:
        """Give the addresses to try. One bad address among good ones spoils all.

        Raises:
            TargetError: there is no address, or one that may not be reached.
        """
        if not addresses:
            raise TargetError(f"{target.host} has no address")
        for address in addresses:
            if (refusal := self.refusal(target, address)) is not None:
                raise TargetError(refusal)
        return list(dict.fromkeys(addresses))


def is_public(address: Address) -> bool:
    """Tell whether an address is one of a host on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)


def read_target(url: str) -> Target:
    """Take a URL apart, strictly: whatever two programs could read differently is refused.

    Raises:
        TargetError: it is no plain http or https URL.
    """
    if len(url) > URL_MAX:
        raise TargetError(f"longer than {URL_MAX} characters")
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise TargetError("holds spaces, control or non-ASCII characters, or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetError(f"is no URL ({error})") from error
    if parts.scheme not in PORTS:
        raise TargetError("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise TargetError("must not hold a user name or a password")
    if "#" in url:
        raise TargetError("must not hold a fragment")
    if port == 0:
        raise TargetError("port 0 is no port")
    path = parts.path or "/"
    path = f"{path}?{parts.query}" if parts.query else path
    return Target(parts.scheme, _read_host(parts.hostname or ""), port or PORTS[parts.scheme], path)


def _read_host(host: str) -> str:
    """Read a name or an address; numbers that only some programs take for an address are refused.

    ``2130706433``, ``0x7f.1`` and ``0177.0.0.1`` are all 127.0.0.1 to the C library.
    """
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as error:
            raise TargetError(f"{host} is no address") from error
    host = host.removesuffix(".")
    if len(host) > HOST_MAX or not _HOST.fullmatch(host):
        raise TargetError("has no host, or one that is neither a name nor an address")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise TargetError(f"{host} is an address in an unusual form") from error
    return host
