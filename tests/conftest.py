"""What every test may ask for."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from django.conf import settings as django_settings
from hypothesis import settings
from redis import Redis

from access.actors import Actor
from tests.clients import Api, with_key
from tests.factories import make_actor

# What a busy machine needs for an example is no finding, and whether a change is sound must not
# hang on luck: the suite asks the same examples each time, the soak looks for others.
settings.register_profile("suite", derandomize=True, database=None, deadline=None)
settings.register_profile("soak", deadline=None, max_examples=1_000)
settings.load_profile("soak" if os.environ.get("EVALSCHED_SOAK") else "suite")

# The browser's tests need a library that only `make e2e` installs.
collect_ignore = [] if find_spec("playwright") else ["e2e"]


@pytest.fixture(scope="session")
def _redis_databases() -> Iterator[list[Redis]]:
    """The two Redis databases of this xdist worker: the broker's and the one for limits."""
    broker = django_settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://")
    urls = [broker.replace("virtual_host=", "db="), django_settings.REDIS_URL]
    clients = [Redis.from_url(url) for url in urls]
    yield clients
    for client in clients:
        client.close()


@pytest.fixture(autouse=True)
def _empty_redis(_redis_databases: list[Redis]) -> None:
    """Begin with no hints and no rate limits spent. Never all of Redis: others test beside us."""
    for client in _redis_databases:
        client.flushdb()


@pytest.fixture
def actor(db: None) -> Actor:
    """The admin of a personal project."""
    return make_actor()


@pytest.fixture
def api(actor: Actor) -> Api:
    """A client with a key of `actor` that reads and writes."""
    return with_key(actor)
