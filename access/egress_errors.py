"""What can go wrong with an outgoing call, in sentences that hold no body, path or credential."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import aiohttp
from aiohttp.http import HttpProcessingError

from access.errors import Invalid


class EgressRefused(Invalid):
    """An outgoing call that may not be made: a private address, plain http, an odd port or header.

    The sentence says what to change. It never holds a body, a path or a credential.
    """


class Reason(StrEnum):
    """Why an exchange failed without an HTTP answer that could be used."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    NETWORK = "network"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    PROTOCOL = "protocol"


class EgressFailed(Exception):
    """The call was made, but no whole answer came back.

    The sentence names the host and a remedy.
    """

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


class AddressRefused(OSError):
    """Raised where the socket is made. An OSError, because racing connects swallow all others."""


@contextmanager
def translated(host: str) -> Iterator[None]:
    """Turn the library's exceptions into ours, whose sentences hold no body, path or header."""
    try:
        yield
    except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
        cause = getattr(error, "os_error", error)
        if isinstance(cause, AddressRefused):
            raise EgressRefused(str(cause)) from None
        raise _failure(host, error) from error


def _failure(host: str, error: Exception) -> EgressFailed:
    """Return what `error` means, most particular first: the library's classes overlap."""
    for kinds, reason, sentence in _FAILURES:
        if isinstance(error, kinds):
            return EgressFailed(reason, sentence.format(host=host))
    raise AssertionError(f"unexpected {type(error).__name__}") from error


_FAILURES: tuple[tuple[tuple[type[Exception], ...], Reason, str], ...] = (
    (
        (aiohttp.ClientConnectorDNSError,),
        Reason.DNS,
        "{host}: no such host; check the spelling and the resolver",
    ),
    (
        (aiohttp.ClientConnectorCertificateError,),
        Reason.TLS,
        "{host}: its certificate is not trusted here; add its authority to the system's store",
    ),
    (
        (aiohttp.ClientSSLError,),
        Reason.TLS,
        "{host}: no TLS connection; check that this port speaks https",
    ),
    (
        (aiohttp.ConnectionTimeoutError,),
        Reason.CONNECT,
        "{host}: no connection in time; check the address, the resolver and the firewall",
    ),
    (
        (aiohttp.ClientConnectorError,),
        Reason.CONNECT,
        "{host}: connection refused or unreachable; check that the server runs on this port",
    ),
    (
        (TimeoutError,),
        Reason.TIMEOUT,
        "{host}: no whole answer in time; raise the timeout or look at the server's load",
    ),
    (
        (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError),
        Reason.NETWORK,
        "{host}: the connection broke off; try again",
    ),
    (
        (aiohttp.ClientError, HttpProcessingError),
        Reason.PROTOCOL,
        "{host}: the answer is not proper HTTP; check the address and the port",
    ),
    ((OSError,), Reason.NETWORK, "{host}: the connection broke off; try again"),
)
