"""A model server as processes meet it, how often batches came to an end, and servers to kill."""

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from tests.faults.long_batches import Ends
from tests.faults.sites import Site, counting_ends, pointed_at, standing_site
from tests.faults.sizes import TIMEOUT_SECONDS
from tests.processes_at_work import LOOPBACK
from tests.servers_http import ModelServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def server(running: ModelServer, settings: Settings) -> ModelServer:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    running.reset()
    running.configure(latency_ms=100)
    return running


@pytest.fixture
def ends(transactional_db: None) -> Iterator[Ends]:
    """Count how often a batch came to an end, in whichever process."""
    with counting_ends() as count:
        yield count


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(standing: Site, transactional_db: None) -> Iterator[Site]:
    """PostgreSQL, Redis and a web process of the test's own; its queries go there as well."""
    with pointed_at(standing):
        yield standing
        connection.close()
