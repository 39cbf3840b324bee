"""The guarded client against real listeners: what it refuses never gets a connection."""

import asyncio
import gzip
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from access import egress
from access.egress import EgressFailed, EgressRefused, PrivateHosts, Reason

NOBODY = PrivateHosts()
LOOPBACK = PrivateHosts.parse(["127.0.0.0/8", "::1"])


@dataclass
class Listener:
    """A real server that notes every connection, whether or not a request follows."""

    port: int = 0
    connections: int = 0
    requests: list[web.Request] = field(default_factory=list)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/"


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def hello(request: web.Request) -> web.StreamResponse:
    return web.Response(text="hello")


@asynccontextmanager
async def listening(
    handler: Handler = hello, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Listener]:
    listener = Listener()

    async def noted(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        listener.requests.append(request)  # type: ignore[arg-type]
        return await handler(request)  # type: ignore[arg-type]

    server = web.Server(noted)

    def connected() -> asyncio.Protocol:
        listener.connections += 1
        protocol: asyncio.Protocol = server()
        return protocol

    listening_server = await asyncio.get_running_loop().create_server(connected, host, 0, ssl=tls)
    listener.port = listening_server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        listening_server.close()
        await server.shutdown(0.1)


class Names(AbstractResolver):
    """Resolves every name to the next of `answers`; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


async def fetch(
    url: str,
    private: PrivateHosts,
    *,
    resolver: AbstractResolver | None = None,
    timeout_s: float = 5,
    max_bytes: int = egress.MAX_BYTES,
) -> tuple[int, bytes]:
    async with (
        egress.session(private=private, resolver=resolver) as session,
        session.post(url, json={}, timeout_s=timeout_s, max_bytes=max_bytes) as response,
    ):
        return response.status, await response.read()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fec0::1]",
        "localhost",
        "LOCALHOST.",
        "sub.localhost",
        "１２７.0.0.1",  # noqa: RUF001  full-width digits, which become ASCII
        "127。0。0。1",
        "user:pw@127.0.0.1",
        "@127.0.0.1",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_spelling_of_loopback_reaches_a_listener(scheme: str, host: str) -> None:
    async def scenario() -> int:
        async with listening() as trap:
            url = f"{scheme}://{host}:{trap.port}/"
            with pytest.raises(EgressRefused):
                await fetch(url, NOBODY)
            return trap.connections

    assert asyncio.run(scenario()) == 0


def test_a_listed_host_is_reached_over_http_on_any_port() -> None:
    async def scenario() -> tuple[int, tuple[int, bytes]]:
        async with listening() as trap:
            answer = await fetch(trap.url(), LOOPBACK)
            return trap.connections, answer

    assert asyncio.run(scenario()) == (1, (200, b"hello"))


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["2606:2800:220:1::1", "::1"],
        ["10.0.0.7", "93.184.216.34"],
        ["169.254.169.254"],
        ["::ffff:10.0.0.7"],
        ["fe80::1%1"],
        ["localhost"],  # a resolver that answers with a name would have it looked up again
    ],
)
def test_a_name_is_refused_when_any_of_its_addresses_is_private(addresses: list[str]) -> None:
    names = Names(addresses)

    with pytest.raises(EgressRefused, match="EVALSCHED_PRIVATE_HOSTS"):
        asyncio.run(fetch("https://api.example/v1", NOBODY, resolver=names))

    assert names.asked == ["api.example"]


def test_a_name_that_resolves_to_another_address_the_second_time_is_refused_then() -> None:
    async def scenario() -> list[str]:
        guard = egress._Guard(NOBODY, Names(["93.184.216.34"], ["127.0.0.1"]))
        first = await guard.resolve("api.example", 443)
        with pytest.raises(EgressRefused):
            await guard.resolve("api.example", 443)
        return [each["host"] for each in first]

    assert asyncio.run(scenario()) == ["93.184.216.34"]


def test_every_connection_looks_its_name_up_anew() -> None:
    async def closing(request: web.Request) -> web.StreamResponse:
        response = web.Response(text="hello")
        response.force_close()
        return response

    async def scenario() -> list[str]:
        names = Names(["127.0.0.1"])
        private = PrivateHosts.parse(["models.lan"])
        async with (
            listening(closing) as server,
            egress.session(private=private, resolver=names) as session,
        ):
            for _ in range(2):
                async with session.post(server.url("models.lan"), timeout_s=5) as response:
                    await response.read()
        return names.asked

    assert asyncio.run(scenario()) == ["models.lan", "models.lan"]


def test_a_listed_name_may_resolve_to_a_private_address() -> None:
    async def scenario() -> tuple[int, bytes]:
        async with listening() as trap:
            url = trap.url("models.lan")
            return await fetch(
                url, PrivateHosts.parse(["Models.LAN"]), resolver=Names(["127.0.0.1"])
            )

    assert asyncio.run(scenario()) == (200, b"hello")


def test_a_listed_name_does_not_open_its_address_to_other_names() -> None:
    async def scenario() -> int:
        names = Names(["127.0.0.1"])
        private = PrivateHosts.parse(["models.lan"])
        async with (
            listening() as trap,
            egress.session(private=private, resolver=names) as session,
        ):
            async with session.post(trap.url("models.lan"), timeout_s=5) as response:
                await response.read()
            for url in (trap.url(), f"https://evil.example:{trap.port}/", "https://evil.example/"):
                with pytest.raises(EgressRefused):
                    async with session.post(url, timeout_s=5):
                        pass
            return trap.connections

    assert asyncio.run(scenario()) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "::ffff:169.254.169.254"])
def test_no_socket_is_made_for_a_private_address_even_behind_the_other_checks(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    async def scenario() -> None:
        guard = egress._Guard(NOBODY, Names([address]))
        with pytest.raises(OSError, match="EVALSCHED_PRIVATE_HOSTS"):
            guard.make_socket((family, socket.SOCK_STREAM, 0, "", (address, 443)))

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    async def scenario() -> tuple[int, int]:
        async with listening() as trap:

            async def redirecting(request: web.Request) -> web.StreamResponse:
                return web.Response(status=status, headers={"Location": trap.url()})

            async with listening(redirecting) as first:
                answer = await fetch(first.url(), LOOPBACK)
            return answer[0], trap.connections

    assert asyncio.run(scenario()) == (status, 0)


def test_following_checks_every_hop_and_stops_at_a_private_one() -> None:
    private = PrivateHosts.parse(["127.0.0.1/32"])

    async def scenario() -> int:
        async with listening(host="127.0.0.2") as trap:

            async def redirecting(request: web.Request) -> web.StreamResponse:
                return web.Response(status=302, headers={"Location": trap.url("127.0.0.2")})

            async with (
                listening(redirecting) as first,
                egress.session(private=private) as session,
            ):
                with pytest.raises(EgressRefused):
                    async with session.follow(first.url(), timeout_s=5):
                        pass
            return trap.connections

    assert asyncio.run(scenario()) == 0


def test_following_takes_three_hops_and_not_four() -> None:
    async def counting_down(request: web.Request) -> web.StreamResponse:
        left = int(request.rel_url.query.get("left", "0"))
        if not left:
            return web.Response(text="arrived")
        return web.Response(status=302, headers={"Location": f"/?left={left - 1}"})

    async def scenario(hops: int) -> bytes:
        async with (
            listening(counting_down) as server,
            egress.session(private=LOOPBACK) as session,
            session.follow(f"{server.url()}?left={hops}", timeout_s=5) as response,
        ):
            return await response.read()

    assert asyncio.run(scenario(3)) == b"arrived"
    with pytest.raises(EgressFailed, match="redirects more than 3 times"):
        asyncio.run(scenario(4))


def test_proxies_and_cookies_from_elsewhere_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def setting_cookies(request: web.Request) -> web.StreamResponse:
        response = web.Response(text="hello")
        response.set_cookie("who", "me")
        return response

    async def scenario() -> tuple[int, list[str | None]]:
        async with listening() as proxy, listening(setting_cookies, host="127.0.0.1") as server:
            for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url())
            async with egress.session(private=LOOPBACK) as session:
                for _ in range(2):
                    async with session.post(server.url(), timeout_s=5) as response:
                        await response.read()
            return proxy.connections, [each.headers.get("Cookie") for each in server.requests]

    assert asyncio.run(scenario()) == (0, [None, None])


def test_a_gzip_bomb_ends_at_the_limit_without_being_unfolded() -> None:
    bomb = gzip.compress(b"\0" * (64 * 1024 * 1024), compresslevel=9)

    async def answering(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async def scenario() -> int:
        async with listening(answering) as server:
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            try:
                with pytest.raises(EgressFailed) as caught:
                    await fetch(server.url(), LOOPBACK, max_bytes=1024 * 1024)
                assert caught.value.reason is Reason.TOO_LARGE
                return tracemalloc.get_traced_memory()[1] - before
            finally:
                tracemalloc.stop()

    assert asyncio.run(scenario()) < 8 * 1024 * 1024


def test_a_compressed_answer_within_the_limit_is_read() -> None:
    async def answering(request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"})

    async def scenario() -> tuple[int, bytes]:
        async with listening(answering) as server:
            return await fetch(server.url(), LOOPBACK, max_bytes=5)

    assert asyncio.run(scenario()) == (200, b"hello")


def test_the_deadline_spans_the_whole_body() -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(0.05)
        return response

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        async with listening(dripping) as server:
            started = loop.time()
            with pytest.raises(EgressFailed) as caught:
                await fetch(server.url(), LOOPBACK, timeout_s=0.3)
            assert caught.value.reason is Reason.TIMEOUT
            return loop.time() - started

    assert 0.25 < asyncio.run(scenario()) < 1.5


def test_a_timeout_of_the_callers_own_is_not_taken_for_the_hosts() -> None:
    async def scenario() -> None:
        async with (
            listening() as server,
            egress.session(private=LOOPBACK) as session,
            session.post(server.url(), timeout_s=5),
        ):
            raise TimeoutError("the caller's")

    with pytest.raises(TimeoutError, match="the caller's"):
        asyncio.run(scenario())


async def _closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def test_a_closed_port_and_an_unknown_name_are_told_apart() -> None:
    class Unknown(Names):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            raise OSError(None, "Name or service not known")

    async def scenario() -> tuple[Reason, Reason]:
        port = await _closed_port()
        with pytest.raises(EgressFailed) as closed:
            await fetch(f"http://127.0.0.1:{port}/secret-path", LOOPBACK)
        with pytest.raises(EgressFailed) as unknown:
            await fetch("https://nowhere.example/secret-path", NOBODY, resolver=Unknown([]))
        assert "secret-path" not in closed.value.sentence + unknown.value.sentence
        return closed.value.reason, unknown.value.reason

    assert asyncio.run(scenario()) == (Reason.CONNECT, Reason.DNS)


def test_a_listener_that_does_not_speak_http_is_a_protocol_failure() -> None:
    async def scenario() -> Reason:
        said = asyncio.Event()

        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"220 mail.example ESMTP ready\r\n")
            writer.close()
            await writer.wait_closed()
            said.set()

        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(EgressFailed) as caught:
                await fetch(f"http://127.0.0.1:{port}/", LOOPBACK)
            await said.wait()
        return caught.value.reason

    assert asyncio.run(scenario()) is Reason.PROTOCOL


def test_a_certificate_that_nobody_vouches_for_is_a_tls_failure(tmp_path: Path) -> None:
    async def scenario() -> tuple[Reason, int]:
        async with listening(tls=_self_signed(tmp_path)) as server:
            with pytest.raises(EgressFailed) as caught:
                await fetch(f"https://127.0.0.1:{server.port}/", LOOPBACK)
            return caught.value.reason, len(server.requests)

    assert asyncio.run(scenario()) == (Reason.TLS, 0)


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "169.254.169.254"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("X-A", "line\r\nHost: evil"),
        ("X-A", "nul\0"),
        ("X A", "blank"),
        ("", "nameless"),
    ],
)
def test_headers_that_could_bend_the_request_are_refused(name: str, value: str) -> None:
    with pytest.raises(EgressRefused) as caught:
        egress.check_headers({name: value})

    assert value not in caught.value.message
