"""Which addresses and names an outgoing call may reach. Opens no socket, asks no resolver."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from yarl import URL

from access.egress_errors import EgressRefused
from access.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 2048
_MAX_NAME = 253  # RFC 1035, without the trailing dot
_OPEN_PORTS = frozenset({80, 443})
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# Resolvers take `127.1`, `2130706433` and `0x7f.1` for addresses, so a last label like these
# makes no name.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\\]")
_USERINFO = re.compile(r"[^/?#]*//[^/?#]*@")
_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")

# Listed in full, although `is_global` knows many of them: its answer differs between Python's
# releases, and it calls 64:ff9b::/96, 2002::/16, ::/96, fec0::/10 and multicast global.
# Source: IANA's special-purpose address registries for IPv4 and IPv6.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
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
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


@dataclass(frozen=True)
class PrivateHosts:
    """The names and networks that outgoing calls may reach although they are private."""

    names: frozenset[str] = frozenset()
    networks: Sequence[Network] = field(default=())

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "PrivateHosts":
        """Read the setting EVALSCHED_PRIVATE_HOSTS: host names, addresses and CIDRs.

        Raises:
            Invalid: an entry is none of these; the operator should correct the setting.
        """
        names: set[str] = set()
        networks: list[Network] = []
        for entry in entries:
            text = entry.strip().lower().rstrip(".")
            try:
                networks.append(ipaddress.ip_network(text.strip("[]"), strict=False))
            except ValueError:
                if not _is_name(text):
                    raise Invalid(
                        f"EVALSCHED_PRIVATE_HOSTS: {entry!r} is neither a host name nor an address "
                        "nor a CIDR; write it without scheme, port and path"
                    ) from None
                names.add(text)
        return cls(frozenset(names), tuple(networks))

    def allow_name(self, name: str) -> bool:
        """Whether `name` (lower case, no trailing dot) is listed, whatever it resolves to.

        `localhost` is loopback by definition (RFC 6761), so listing 127.0.0.1 lists it too.
        """
        return name in self.names or (_is_localhost(name) and self.allow_address(_LOOPBACK))

    def allow_address(self, address: Address) -> bool:
        """Whether `address` lies in a listed network."""
        return any(address in network for network in self.networks)


def parse_address(text: str) -> Address | None:
    """Return the address that `text` spells, or None; an IPv4-mapped one comes back as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Whether `address` belongs to the public internet: unicast, routable, not a tunnel's."""
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def is_allowed(address: Address, private: PrivateHosts) -> bool:
    """Whether a call may connect to `address`.

    An address that carries another (6to4, NAT64, IPv4-compatible) is judged by both: listing
    64:ff9b::/96 for a network with NAT64 does not open 64:ff9b::7f00:1, which is loopback.
    """
    return all(
        is_public(each) or private.allow_address(each) for each in (address, *_carried(address))
    )


def check_url(url: str, private: PrivateHosts, *, field: str | None = None) -> None:
    """Refuse a URL that no outgoing call will be made to. Needs no network, so it fits saving.

    A name that passes here may still be refused at the call, when it resolves to a private address.
    `field` is the input's field that the error's details blame.

    Raises:
        EgressRefused: with a sentence that says what to change.
    """
    try:
        _check_url(url, private)
    except EgressRefused as refusal:
        raise EgressRefused(
            refusal.message, {field: [refusal.message]} if field else None
        ) from None


def host_of(url: str) -> str:
    """Return the host that `url` names, in lower case, without brackets and trailing dot."""
    return (URL(url).raw_host or "").lower().rstrip(".")


def private_sentence(host: str) -> str:
    return (
        f"{host} is, or resolves to, an address that is not public; "
        "add it to EVALSCHED_PRIVATE_HOSTS if you mean it"
    )


def _check_url(url: str, private: PrivateHosts) -> None:
    parsed = _parse(url)
    host = (parsed.raw_host or "").lower().rstrip(".")
    address = parse_address(host)
    if address is not None:
        listed = private.allow_address(address)
        if not is_allowed(address, private):
            raise EgressRefused(private_sentence(host))
    else:
        listed = private.allow_name(host)
        _check_name(host, listed=listed)
    _check_scheme_and_port(parsed, host, listed=listed)


def _parse(url: str) -> URL:
    """Parse with the very parser that connects: two parsers that disagree are a way around."""
    if len(url) > MAX_URL:
        raise EgressRefused(f"A URL may have {MAX_URL} characters; shorten it")
    if _NOT_IN_URL.search(url):
        raise EgressRefused("A URL may not hold spaces, control characters or backslashes")
    try:
        parsed = URL(url)
    except ValueError:
        raise EgressRefused("This is not a URL; write it like https://api.example.com/v1") from None
    if parsed.scheme not in {"http", "https"} or not parsed.raw_host:
        raise EgressRefused("A URL starts with https:// and a host (or http:// for a listed host)")
    # On the text, because an empty user ("https://@host") leaves no trace in the parsed URL.
    if _USERINFO.match(url):
        raise EgressRefused("A URL may not hold a user or password; use the key or a header")
    return parsed


def _check_name(name: str, *, listed: bool) -> None:
    if not _is_name(name):
        raise EgressRefused(
            "The host is neither a name nor an address in its usual form, like 203.0.113.7"
        )
    if not listed and (_is_localhost(name) or name == "internal" or name.endswith(".internal")):
        raise EgressRefused(private_sentence(name))


def _check_scheme_and_port(parsed: URL, host: str, *, listed: bool) -> None:
    if listed:
        return
    if parsed.scheme != "https":
        raise EgressRefused(
            f"Use https for {host}; plain http only goes to hosts listed in EVALSCHED_PRIVATE_HOSTS"
        )
    if parsed.port not in _OPEN_PORTS:
        raise EgressRefused(
            f"Port {parsed.port} of {host} is not open to outgoing calls; use 443 or 80, "
            "or add the host to EVALSCHED_PRIVATE_HOSTS if you mean it"
        )


def _is_name(text: str) -> bool:
    labels = text.split(".")
    if len(text) > _MAX_NAME or _NUMBER.fullmatch(labels[-1]):
        return False
    return all(_LABEL.fullmatch(label) for label in labels)


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _carried(address: Address) -> tuple[Address, ...]:
    """Return the IPv4 addresses that an IPv6 `address` leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return ()
    if address.sixtofour:
        return (address.sixtofour,)
    # ::1 and :: are addresses of their own, not carriers of 0.0.0.1 and 0.0.0.0.
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return ()
