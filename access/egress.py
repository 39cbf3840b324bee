"""The one HTTP client for addresses that a user typed: models, webhooks, imports.

It cannot be used without its guard. The URL is checked before every request, a name is refused
when any of its addresses is private, and every address is checked again where the socket is made,
because a resolver is never asked for address literals. No redirects, no proxies from the
environment, no cookies; one deadline for the whole exchange and a size limit after decompression.
"""

import math
import re
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from access.addresses import (
    PrivateHosts,
    check_url,
    host_of,
    is_allowed,
    parse_address,
    private_sentence,
)
from access.egress_errors import AddressRefused, EgressFailed, EgressRefused, Reason, translated

__all__ = [
    "MAX_BYTES",
    "EgressFailed",
    "EgressRefused",
    "PrivateHosts",
    "Reason",
    "Response",
    "Session",
    "check_headers",
    "check_url",
    "session",
]

MAX_BYTES = 4 * 1024 * 1024
# A host that drops packets would otherwise hold a call for its whole deadline and look slow. TCP
# itself tries at 0, 1, 3 and 7 s; the lookup of the name and the TLS handshake are in it as well.
CONNECT_S = 8.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What aiohttp gives a socket factory: family, type, protocol, canonical name, socket address.
_AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]
# These belong to the connection or to the guard; a caller that sets them could reach another host.
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True)
class Response:
    """An answer whose body is still on its way. `status` may be anything, 3xx included."""

    status: int
    headers: Mapping[str, str]
    url: str
    host: str
    _max_bytes: int
    _raw: aiohttp.ClientResponse = field(repr=False)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, decompressed, in pieces as they arrive.

        Raises:
            EgressFailed: too large, too slow, cut off, or not decodable.
        """
        taken = 0
        # aiohttp inflates at most a read buffer at a time, so a bomb is cut off as it unfolds.
        pieces = self._raw.content.iter_any()
        while True:
            with translated(self.host):
                chunk = await anext(pieces, b"")
            if not chunk:
                return
            taken += len(chunk)
            if taken > self._max_bytes:
                raise EgressFailed(
                    Reason.TOO_LARGE,
                    f"{self.host} answered with more than {self._max_bytes} bytes; none were kept",
                )
            yield chunk

    async def read(self) -> bytes:
        """Return the whole body. Raises as `chunks`."""
        return b"".join([chunk async for chunk in self.chunks()])


class Session:
    """Makes guarded requests over pooled connections. Only `session()` makes one."""

    def __init__(self, client: aiohttp.ClientSession, private: PrivateHosts) -> None:
        self._client = client
        self._private = private

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        data: bytes | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> AsyncIterator[Response]:
        """Send one request; `timeout_s` spans everything from the lookup to the body's last byte.

        Redirects are not followed, they come back as their status. At most `max_bytes` of body,
        counted after decompression.

        Raises:
            EgressRefused: the address, port, scheme or a header is not allowed. Nothing was sent.
            EgressFailed: no whole answer came back.
        """
        check_url(url, self._private)
        check_headers(headers or {})
        host = host_of(url)
        with translated(host):
            raw = await self._client.request(
                method,
                url,
                headers=headers,
                json=json,
                data=data,
                allow_redirects=False,
                timeout=_deadline(timeout_s),
            )
        # Leaving with the body unread closes the connection: nobody downloads the rest.
        async with raw:
            yield Response(raw.status, raw.headers, url, host, max_bytes, raw)

    def post(
        self,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        data: bytes | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> AbstractAsyncContextManager[Response]:
        """POST `json`, or `data` as it is. Raises as `request`."""
        return self.request(
            "POST",
            url,
            timeout_s=timeout_s,
            headers=headers,
            json=json,
            data=data,
            max_bytes=max_bytes,
        )

    @asynccontextmanager
    async def follow(
        self, url: str, *, timeout_s: float, hops: int = 3, max_bytes: int = MAX_BYTES
    ) -> AsyncIterator[Response]:
        """GET `url` for an import, through at most `hops` redirects, each checked as the first.

        It takes no headers, so no hop can carry a credential elsewhere. `timeout_s` spans them all.
        Raises as `request`; too many redirects are an EgressFailed.
        """
        ends = time.monotonic() + timeout_s
        for _ in range(hops + 1):
            left_s = max(ends - time.monotonic(), 0.001)
            async with self.request("GET", url, timeout_s=left_s, max_bytes=max_bytes) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                url = urljoin(url, response.headers.get("Location", ""))
        raise EgressFailed(
            Reason.PROTOCOL, f"{host_of(url)} redirects more than {hops} times; use the final URL"
        )


@asynccontextmanager
async def session(
    *, private: PrivateHosts, limit: int = 100, resolver: AbstractResolver | None = None
) -> AsyncIterator[Session]:
    """Open a guarded client for the running loop.

    `limit` is the most connections at once; waiting for one counts as connecting, so it should not
    be less than the calls in flight. `resolver` replaces the system's name
    lookup (tests); the guard stands in front of it all the same.
    """
    guard = _Guard(private, resolver or aiohttp.ThreadedResolver())
    connector = aiohttp.TCPConnector(
        resolver=guard,
        socket_factory=guard.make_socket,
        # A cached answer would be a connection to an address that nobody checked today.
        use_dns_cache=False,
        limit=limit,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "evalsched", "Accept-Encoding": "gzip, deflate"},
    ) as client:
        yield Session(client, private)


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that break the request or could steer it past the guard.

    Raises:
        EgressRefused: with the header's name, never its value.
    """
    for name, value in headers.items():
        if not name or not _TOKEN.issuperset(name.lower()):
            raise EgressRefused("A header's name may only hold letters, digits and hyphens")
        if name.lower() in _OWN_HEADERS:
            raise EgressRefused(f"The header {name} belongs to the connection; take it out")
        if _CONTROL.search(value):
            raise EgressRefused(f"The header {name} holds a line break or a control character")


class _Guard(AbstractResolver):
    """Looks names up and makes sockets, both for allowed addresses only."""

    def __init__(self, private: PrivateHosts, resolver: AbstractResolver) -> None:
        self._private = private
        self._resolver = resolver
        # Addresses that a listed name resolved to. An unlisted literal cannot profit from them:
        # `check_url` refuses it before, and `resolve` refuses an unlisted name.
        self._vouched: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        listed = self._private.allow_name(host.lower().rstrip("."))
        for result in results:
            address = parse_address(result["host"])
            # Not an address: the socket layer would look it up again, behind this check.
            if address is None or not (listed or is_allowed(address, self._private)):
                raise EgressRefused(private_sentence(host))
        if listed:
            self._vouched.update(result["host"] for result in results)
        return results

    async def close(self) -> None:
        await self._resolver.close()

    def make_socket(self, info: _AddrInfo) -> socket.socket:
        family, kind, protocol, _, sockaddr = info
        target = str(sockaddr[0])
        address = parse_address(target)
        if address is None or not (target in self._vouched or is_allowed(address, self._private)):
            raise AddressRefused(private_sentence(target))
        return socket.socket(family, kind, protocol)


def _deadline(timeout_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=timeout_s,
        # Below the total, so that a host that drops packets is told apart from a slow answer.
        connect=min(CONNECT_S, timeout_s * 0.9),
        # By default aiohttp rounds deadlines above 5 s up to whole seconds of its clock.
        ceil_threshold=math.inf,
    )
