"""Limits a minute, counted in Redis over all threads and processes."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from pytest_django import Settings

from access import rate_limits
from access.actors import Actor
from access.errors import RateLimited
from tests.clients import Api, with_key, with_session
from tests.factories import make_actor, make_key


@pytest.fixture
def redis_away(settings: Settings, tmp_path: object) -> Iterator[None]:
    """The limiter looks for Redis where nobody listens."""
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock?db=0"
    rate_limits._limiter.cache_clear()
    yield
    rate_limits._limiter.cache_clear()


def _at_once(count: int, threads: int, work: Callable[[], int]) -> Counter[int]:
    """Do `work` `count` times on so many threads that all begin together."""
    barrier = threading.Barrier(threads)

    def several() -> list[int]:
        barrier.wait(timeout=30)
        try:
            return [work() for _ in range(count // threads)]
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(several) for _ in range(threads)]
        return Counter(result for future in waiting for result in future.result())


def _spend() -> int:
    try:
        rate_limits.spend("read", "somebody", per_minute=10)
    except RateLimited:
        return 429
    return 200


def test_of_a_hundred_at_once_as_many_pass_as_the_limit_says() -> None:
    assert _at_once(100, 100, _spend) == {200: 10, 429: 90}


@pytest.mark.django_db(transaction=True)
def test_of_a_hundred_requests_at_once_as_many_pass_as_the_limit_says(settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_READS = 10
    _, text = make_key()

    def ask() -> int:
        return int(Api().read("me", **{"X-API-Key": text}).status_code)

    assert _at_once(100, 20, ask) == {200: 10, 429: 90}


def test_who_is_over_the_limit_is_told_how_long_to_wait(
    api: Api, actor: Actor, settings: Settings
) -> None:
    settings.EVALSCHED_RATE_LIMIT_READS = 2
    answers = [api.read("me") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    refused = answers[-1]
    assert refused.json()["error"] == "rate_limited"
    assert refused.json()["status_code"] == 429
    assert refused.json()["correlation_id"] == refused["X-Request-ID"]
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused["Retry-After"] in refused.json()["message"]


def test_reads_and_writes_are_counted_apart(api: Api, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_READS = 1
    settings.EVALSCHED_RATE_LIMIT_WRITES = 2

    read = [api.read("me").status_code for _ in range(2)]
    written = [api.create("test-suites", {"name": str(n)}).status_code for n in range(3)]

    assert read == [200, 429]
    assert written == [201, 201, 429]


def test_a_refused_request_has_done_nothing(api: Api, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_WRITES = 1
    for number in range(3):
        api.create("test-suites", {"name": str(number)})

    assert api.read("test-suites").json()["count"] == 1


def test_a_person_and_all_their_keys_are_counted_together(actor: Actor, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_READS = 3
    clients = [with_key(actor), with_key(actor), with_session(actor)]

    assert [client.read("me").status_code for client in clients] == [200] * 3
    assert [client.read("me").status_code for client in clients] == [429] * 3
    assert with_key(actor).read("me").status_code == 429


def test_people_are_counted_each_for_themselves(actor: Actor, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_READS = 1
    clients = [with_key(actor), with_session(make_actor()), with_key(make_actor())]

    assert [client.read("me").status_code for client in clients] == [200] * 3
    assert [client.read("me").status_code for client in clients] == [429] * 3


WRONG: list[dict[str, str]] = [
    {"X-Service-Role-Key": "wrong", "X-User-Id": "x"},
    {"X-API-Key": "es_0123456789_wrong"},
    {"Authorization": "Bearer es_0123456789_wrong"},
    {},
]


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_failed_credentials_are_counted_by_the_clients_address(
    headers: dict[str, str], api: Api, settings: Settings
) -> None:
    settings.EVALSCHED_RATE_LIMIT_REFUSED = 2
    guesser = Api()

    answers = [guesser.read("me", **headers) for _ in range(3)]
    elsewhere = Api(REMOTE_ADDR="192.0.2.7").read("me", **headers)

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert int(answers[-1]["Retry-After"]) >= 1
    assert elsewhere.status_code == 401
    # Whoever has a right key is let in, whatever their neighbours try.
    assert api.read("me").status_code == 200


def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_REFUSED = 1

    def ask(forwarded: str) -> int:
        return int(Api().read("me", **{"X-Forwarded-For": forwarded}).status_code)

    untrusted = [ask("192.0.2.1"), ask("192.0.2.2")]
    settings.TRUSTED_PROXY = True
    trusted = [ask("192.0.2.1, 192.0.2.3"), ask("192.0.2.2, 192.0.2.3"), ask("192.0.2.4")]

    assert untrusted == [401, 429]
    assert trusted == [401, 429, 401]


@pytest.mark.parametrize(("path", "status"), [("keys", 403), ("audit?limit=abc", 400)])
def test_requests_that_fail_are_counted_too(
    path: str, status: int, api: Api, settings: Settings
) -> None:
    settings.EVALSCHED_RATE_LIMIT_READS = 2

    assert [api.read(path).status_code for _ in range(3)] == [status, status, 429]


@pytest.mark.usefixtures("redis_away")
def test_without_redis_requests_pass(api: Api, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_READS = 1

    assert [api.read("me").status_code for _ in range(3)] == [200] * 3


@pytest.mark.usefixtures("redis_away")
def test_without_redis_it_is_said_in_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.read("me")

    assert "rate limit not counted" in caplog.text
