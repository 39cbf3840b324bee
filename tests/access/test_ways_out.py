"""Every way out of the service against every spelling of an address that is not public.

A real listener on loopback counts connections. Each hostile address goes through every door (model
calls of each provider, embeddings, checks, imports, webhooks, Slack), past the checks made when it
is saved: none may open a connection, and each has to say why.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from pytest_django import Settings

from access import egress
from access.actors import Actor
from access.errors import Refusal
from alerts import deliveries
from alerts.models import Attempt, Channel
from batches import calls, endpoints, fetching
from batches.calls import Backoff, Tried
from batches.models import Document, ModelEndpoint
from batches.providers.base import Call, Endpoint
from tests.alerts.receiver import Answer, Receiver
from tests.factories import (
    NOW,
    make_actor,
    make_channel,
    make_document,
    make_endpoint,
    make_event,
    make_notification,
)

pytestmark = pytest.mark.django_db
GOOD = "https://models.example.org/v1"
PUBLIC = "2001:4860:4860::8888"


class Trap:
    """Listens on 127.0.0.1 and, where there is one, ::1; counts connections and hangs up."""

    def __init__(self) -> None:
        self.connections = 0
        self._over = threading.Event()
        self._listeners = [self._listening(socket.AF_INET, "127.0.0.1", 0)]
        self.port: int = self._listeners[0].getsockname()[1]
        with contextlib.suppress(OSError):
            self._listeners.append(self._listening(socket.AF_INET6, "::1", self.port))
        self._threads = [
            threading.Thread(target=self._count, args=(listener,)) for listener in self._listeners
        ]

    def _listening(self, family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        listener = socket.socket(family)
        listener.bind((host, port))
        listener.listen(64)
        listener.settimeout(0.05)
        return listener

    def _count(self, listener: socket.socket) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                self.connections += 1
                connection.close()

    def caught(self) -> int:
        """Return how many came, with time for the last to be counted."""
        time.sleep(0.1)
        return self.connections

    def __enter__(self) -> "Trap":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for listener in self._listeners:
            listener.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    with Trap() as listening:
        yield listening


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, trap: Trap) -> Callable[..., None]:
    """Say what names resolve to, in turn, and let the last answer stay.

    It takes the place of the system's lookup, below the client and its guard. Every answer leads to
    the trap's port, so that whoever connects is caught.
    """
    answers: dict[str, list[Sequence[str]]] = {}
    real = socket.getaddrinfo

    def looked_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        known = answers.get(str(host).rstrip("."))
        if known is None:
            return real(host, port, *args, **kwargs)
        addresses = known.pop(0) if len(known) > 1 else known[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, trap.port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, trap.port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)

    def name(host: str, *given: Sequence[str]) -> None:
        answers[host] = list(given)

    return name


def asked(ask: Callable[[egress.Session], Any]) -> str:
    """Make one attempt through the client as the engine makes it; return the error."""

    async def attempt() -> Tried[Any]:
        async with egress.session(private=endpoints.private_hosts(), limit=1) as session:
            tried: Tried[Any] = await ask(session)
            return tried

    tried = asyncio.run(attempt())
    assert tried.answer is None
    return tried.error


ONCE = Backoff(attempts=1)


def calling(provider: str) -> Callable[[Actor, str], str]:
    def call(_: Actor, url: str) -> str:
        endpoint = Endpoint(provider, url, "m", "sk-key", request_template={"q": "{{ prompt }}"})
        question = Call([{"role": "user", "content": "hello"}], timeout_s=5)
        deadline = time.monotonic() + 10
        return asked(
            lambda session: calls.call(session, endpoint, question, deadline=deadline, backoff=ONCE)
        )

    return call


def embedding(_: Actor, url: str) -> str:
    endpoint, deadline = Endpoint("openai", url, "m"), time.monotonic() + 10
    return asked(
        lambda session: calls.embed(
            session, endpoint, ["a"], timeout_s=5, deadline=deadline, backoff=ONCE
        )
    )


def checking(actor: Actor, url: str) -> str:
    made = make_endpoint(actor, provider="openai", base_url=GOOD, model="m")
    ModelEndpoint.objects.filter(pk=made.pk).update(base_url=url)
    made.refresh_from_db()
    found = calls.check_now(endpoints.connection(made), endpoints.private_hosts(), timeout_s=5)
    assert not found.ok
    return found.sentence


def importing(actor: Actor, url: str) -> str:
    made = make_document(actor, title="", content="", url=GOOD)
    Document.objects.filter(pk=made.pk).update(source_url=url)
    assert fetching.fetch_waiting() == 1
    made.refresh_from_db()
    assert (made.status, made.content) == ("failed", "")
    return made.error_message


def delivered(actor: Actor, channel: Channel) -> str:
    notification = make_notification(make_event(actor), channel=channel)
    deliveries.deliver(notification.pk, now=NOW)
    notification.refresh_from_db()
    assert notification.status != "sent"
    return Attempt.objects.get(notification=notification).error_message


def webhook(actor: Actor, url: str) -> str:
    channel = make_channel(actor, url=GOOD)
    Channel.objects.filter(pk=channel.pk).update(configuration={"url": url})
    return delivered(actor, channel)


def slack(actor: Actor, url: str) -> str:
    channel = make_channel(actor, kind="slack", url=f"{GOOD}/T/B/x")
    Channel.objects.filter(pk=channel.pk).update(secret=url)
    return delivered(actor, channel)


DOORS: dict[str, Callable[[Actor, str], str]] = {
    **{provider: calling(provider) for provider in ("openai", "anthropic", "http")},
    "embeddings": embedding,
    "check": checking,
    "import": importing,
    "webhook": webhook,
    "slack": slack,
}


# What the guard says, and nobody else.
REFUSALS = (
    "an address that is not public",
    "neither a name nor an address",
    "A URL starts with https://",
    "A URL may not hold",
    "This is not a URL",
    "Use https for",
    "is not open to outgoing calls",
)


def through_all_doors(url: str) -> dict[str, str]:
    actor = make_actor()
    return {name: door(actor, url) for name, door in DOORS.items()}


def assert_refused_everywhere(url: str, trap: Trap) -> None:
    said = through_all_doors(url)

    assert trap.caught() == 0
    for door, sentence in said.items():
        # Refused, and not merely without an answer.
        assert any(refusal in sentence for refusal in REFUSALS), (door, sentence)


HOSTS = [
    # Loopback in every notation that some resolver takes.
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "localhost",
    "localhost.",
    "LocalHost",
    "db.localhost",
    # IPv4 inside of IPv6.
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::80ff:fffe]",
    "[::ffff:169.254.169.254]",
    # Private, shared, link-local, reserved.
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "198.18.0.1",
    "192.0.0.192",
    "224.0.0.1",
    "[ff02::1]",
    "255.255.255.255",
    "240.0.0.1",
    "metadata.google.internal",
    # Spellings that parsers disagree about.
    "models.example.org@127.0.0.1",
    "@127.0.0.1",
    "127.0.0.1%2523@models.example.org",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
    "\u2460\u2461\u2466.0.0.1",
    "models.example.org\\@127.0.0.1",
    "127.0.0.1\t",
    "127.0.0.1\r\nHost: models.example.org",
]


@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_of_a_host_opens_a_door(host: str, trap: Trap) -> None:
    assert_refused_everywhere(f"https://{host}:{trap.port}/v1", trap)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file://127.0.0.1/etc/passwd",
        "gopher://127.0.0.1:{port}/_GET",
        "ftp://127.0.0.1:{port}/",
        "dict://127.0.0.1:{port}/d",
        "ldap://127.0.0.1:{port}/",
        "data:text/plain,hello",
        "javascript:alert(1)",
        "unix:///run/redis.sock",
        "http+unix://%2Frun%2Fredis.sock/",
        "ws://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "127.0.0.1:{port}",
        "https:127.0.0.1:{port}",
        "https:///127.0.0.1:{port}",
        "https://models.example.org:{port}/",
        "https://models.example.org:22/",
        "http://models.example.org/",
    ],
)
def test_no_other_scheme_or_port_opens_a_door(url: str, trap: Trap) -> None:
    assert_refused_everywhere(url.replace("{port}", str(trap.port)), trap)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "93.184.216.34"],
        [PUBLIC, "::1"],
    ],
)
def test_a_name_that_leads_inwards_opens_no_door(
    addresses: list[str], names: Callable[..., None], trap: Trap
) -> None:
    names("models.example.org", addresses)

    assert_refused_everywhere(GOOD, trap)


@pytest.mark.parametrize("door", DOORS)
def test_a_name_that_leads_inwards_the_second_time_opens_no_door(
    door: str, names: Callable[..., None], trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time it is public, and nobody is reached; what was found then is not kept."""
    monkeypatch.setattr(egress, "CONNECT_S", 0.2)
    names("models.example.org", [PUBLIC], ["127.0.0.1"])
    actor = make_actor()

    DOORS[door](actor, GOOD)
    sentence = DOORS[door](actor, GOOD)

    assert "models.example.org is, or resolves to, an address that is not public" in sentence
    assert trap.caught() == 0


@pytest.mark.parametrize(
    ("status", "target"),
    [
        (301, "http://127.0.0.1:{port}/v1"),
        (302, "http://127.0.0.1:{port}/v1"),
        (303, "http://127.0.0.1:{port}/v1"),
        (307, "http://127.0.0.1:{port}/v1"),
        (308, "http://127.0.0.1:{port}/v1"),
        (301, "//127.0.0.1:{port}/v1"),
        (302, "https://[::1]:{port}/v1"),
        (307, "https://[::ffff:7f00:1]:{port}/v1"),
        (308, "https://2130706433:{port}/v1"),
        (302, "file:///etc/passwd"),
        (303, "gopher://127.0.0.1:{port}/"),
        (307, "data:text/plain,hello"),
    ],
)
def test_a_redirect_opens_no_door(
    status: int, target: str, trap: Trap, settings: Settings, elsewhere: Receiver
) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.2"]
    elsewhere.answer = Answer(status, {"Location": target.replace("{port}", str(trap.port))})

    said = through_all_doors(f"http://127.0.0.2:{elsewhere.port}/v1")

    assert trap.caught() == 0
    assert len(elsewhere.requests) == len(DOORS)
    assert all(said.values())


@pytest.fixture
def elsewhere() -> Iterator[Receiver]:
    with Receiver("127.0.0.2") as server:
        yield server


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_trap_counts_whoever_may_come(
    host: str, door: str, trap: Trap, settings: Settings
) -> None:
    """Without this the other tests would prove nothing."""
    if host == "[::1]" and len(trap._listeners) == 1:
        pytest.skip("there is no ::1 here")
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.1", "::1"]

    assert DOORS[door](make_actor(), f"http://{host}:{trap.port}/v1")

    assert trap.caught() >= 1


@pytest.mark.parametrize("door", DOORS)
def test_the_trap_counts_who_is_led_there_by_a_name(
    door: str, names: Callable[..., None], trap: Trap, settings: Settings
) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = ["models.example.org"]
    names("models.example.org", ["127.0.0.1"])

    assert DOORS[door](make_actor(), GOOD)

    assert trap.caught() >= 1


@pytest.mark.parametrize("host", [host for host in HOSTS if ".example." not in host])
def test_what_can_be_told_by_the_address_is_refused_when_it_is_saved(host: str) -> None:
    actor, url = make_actor(), f"https://{host}/v1"

    for save in (
        lambda: make_endpoint(actor, provider="openai", base_url=url, model="m"),
        lambda: make_document(actor, title="", content="", url=url),
        lambda: make_channel(actor, url=url),
        lambda: make_channel(actor, kind="slack", url=url),
    ):
        with pytest.raises(Refusal):
            save()
