"""A model server, and the ends of batches as they are told."""

import uuid
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from batches import calls
from batches.calls import Backoff
from batches.signals import batch_finished
from tests.processes_at_work import LOOPBACK
from tests.servers_http import ModelServer


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def server(
    running: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> ModelServer:
    """The model server as new; calls that fail are tried again without long waits."""
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    quick = Backoff(first_s=0.01, most_s=0.02)
    for asking in (calls.call, calls.embed):
        assert asking.__kwdefaults__ is not None
        monkeypatch.setitem(asking.__kwdefaults__, "backoff", quick)
    running.reset()
    return running


@pytest.fixture
def ended() -> Iterator[list[uuid.UUID]]:
    """The batches that told of their end, as they tell it."""
    told: list[uuid.UUID] = []

    def note(batch_id: uuid.UUID, **_: object) -> None:
        told.append(batch_id)

    batch_finished.connect(note)
    yield told
    batch_finished.disconnect(note)
