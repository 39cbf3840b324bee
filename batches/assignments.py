"""What one slice of work needs to know of its batch, read once before it begins."""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from access.errors import Conflict
from alerts.prices import Prices
from batches import endpoints, scoring
from batches.allowances import Rate
from batches.cases import CaseDraft, Message, rendered
from batches.models import Batch, ModelEndpoint
from batches.providers.base import Endpoint
from batches.scoring import Assertion

_NO_DEADLINE = timedelta(days=1)


@dataclass(frozen=True)
class Assignment:
    """What one slice needs to know of its batch. Read once; the batch's status is not in it."""

    batch_id: uuid.UUID
    endpoint: Endpoint
    prices: Prices
    parameters: dict[str, object]
    # The agent's: the system prompt of every call, and what holds for every answer.
    instructions: str
    assertions: tuple[Assertion, ...]
    timeout_s: float
    # Over all workers.
    concurrency: int
    # Held over all workers: calls of the endpoint, starts of the batch, tokens of the endpoint.
    rates: tuple[Rate, ...]
    tokens: Rate | None
    # On this process's monotonic clock.
    deadline: float

    def conversation(self, case: CaseDraft) -> list[Message]:
        """Return the turns to send: the case's own, under the agent's instructions."""
        turns = rendered(case)
        if not self.instructions:
            return turns
        return [Message(role="system", content=self.instructions), *turns]


def read(batch_id: uuid.UUID, *, now: datetime) -> Assignment | None:
    """Read what a slice needs; None where the batch is not open.

    Raises:
        Conflict: its endpoint was deleted.
        UnreadableSecret: the endpoint's key cannot be decrypted.
    """
    batch = Batch.objects.select_related("endpoint").open().filter(pk=batch_id).first()
    if batch is None:
        return None
    if batch.endpoint is None:
        raise Conflict("Its model endpoint was deleted. Choose another one and run it again.")
    left = batch.deadline_at - now if batch.deadline_at else _NO_DEADLINE
    return Assignment(
        batch_id=batch.pk,
        endpoint=endpoints.connection(batch.endpoint),
        prices=endpoints.prices(batch.endpoint),
        parameters=batch.parameters,
        instructions=batch.instructions,
        assertions=scoring.parse(batch.assertions),
        timeout_s=batch.timeout_ms / 1000,
        concurrency=batch.concurrency,
        rates=_rates(batch, batch.endpoint),
        tokens=_token_rate(batch.endpoint),
        deadline=time.monotonic() + left.total_seconds(),
    )


def _rates(batch: Batch, endpoint: ModelEndpoint) -> tuple[Rate, ...]:
    rates = []
    if endpoint.requests_per_minute:
        rates.append(Rate.per_minute(f"requests:{endpoint.pk}", endpoint.requests_per_minute))
    if batch.delay_ms:
        rates.append(Rate(f"batch:{batch.pk}", batch.delay_ms))
    return tuple(rates)


def _token_rate(endpoint: ModelEndpoint) -> Rate | None:
    if not endpoint.tokens_per_minute:
        return None
    return Rate.per_minute(f"tokens:{endpoint.pk}", endpoint.tokens_per_minute)
