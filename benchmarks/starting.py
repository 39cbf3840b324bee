"""Batches started over the API and waited for. What the benchmarks of the engine have in common."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from django.test import Client

from access import clock
from access.actors import Actor
from batches.models import Batch, BatchStatus
from tests.factories import make_actor, make_endpoint, make_key, make_suite
from tests.servers_http import ModelServer

# Seldom: what asks is on the same two cores, and its queries are counted as the database's work.
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Caller:
    """A client of the API, and the endpoint its batches call."""

    client: Client
    actor: Actor
    model_id: str

    def start(self, suite_id: str, **config: object) -> uuid.UUID:
        """Start a batch and return its id; `config` holds fields of the API's."""
        body = {"test_suite_id": suite_id, "model_id": self.model_id, **config}
        answer = self.client.post("/api/batches", body, "application/json")
        assert answer.status_code == 202, answer.content
        return uuid.UUID(answer.json()["id"])

    def run(self, suite_id: str, *, patience_s: float = 120, **config: object) -> "Ran":
        """Start a batch and wait until all its cases have passed."""
        started = clock.database_now()
        batch = ended(self.start(suite_id, **config), patience_s=patience_s)
        assert batch.completed_at is not None
        return Ran(batch, (batch.completed_at - started).total_seconds())


@dataclass(frozen=True)
class Ran:
    """A batch that has completed, and the seconds from the POST to that."""

    batch: Batch
    seconds: float


def caller(server: ModelServer, **endpoint: object) -> Caller:
    actor = make_actor()
    wanted = {"provider": "openai", "base_url": server.base_url, "model": "m"}
    made = make_endpoint(actor, **(wanted | endpoint))
    _, key = make_key(actor)
    return Caller(Client(headers={"Authorization": f"Bearer {key}"}), actor, str(made.pk))


def suite_of(about: Caller, cases: int) -> str:
    return str(make_suite(about.actor, cases=cases).pk)


def ended(
    batch_id: uuid.UUID, *, patience_s: float, meanwhile: Callable[[], object] = lambda: None
) -> Batch:
    """Wait until the batch has completed with all its cases passed; `meanwhile` is called often."""
    deadline = time.monotonic() + patience_s
    while True:
        meanwhile()
        batch = Batch.objects.get(pk=batch_id)
        if batch.completed_at is not None:
            break
        assert time.monotonic() < deadline, f"{batch.done} of {batch.total} after {patience_s} s"
        time.sleep(LOOK_SECONDS)
    assert batch.status == BatchStatus.COMPLETED, batch.error_message
    assert batch.passed == batch.total, f"{batch.passed} of {batch.total} passed"
    return batch
