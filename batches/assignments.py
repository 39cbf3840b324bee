"""What one slice of work needs to know of its batch, read once before it begins."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from access.errors import Conflict
from alerts.prices import Prices
from batches import endpoints, requests, scoring
from batches.allowances import Rate
from batches.cases import CaseDraft, Message, rendered
from batches.models import Batch, ModelEndpoint
from batches.providers.base import Endpoint
from batches.scoring import Assertion

_NO_DEADLINE = timedelta(days=1)


@dataclass(frozen=True)
class Grader:
    """An endpoint that judges or embeds for the batch. Its limits are its own, over all workers."""

    key: str
    name: str
    endpoint: Endpoint
    prices: Prices
    rates: tuple[Rate, ...]
    tokens: Rate | None

    @property
    def prices_of_input(self) -> Prices:
        """The prices where there is no output: that of the output need not be known."""
        return replace(self.prices, output=self.prices.output or Decimal(0))


@dataclass(frozen=True)
class Assignment:
    """What one slice needs to know of its batch. Read once; the batch's status is not in it."""

    batch_id: uuid.UUID
    endpoint: Endpoint
    prices: Prices
    parameters: dict[str, object] = field(repr=False)
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
    # By the type of assertion, and the provider that the assertion names or "".
    graders: Mapping[tuple[str, str], Grader] = field(default_factory=dict)
    # Of a batch that is one request; what asks a suite or documents has none.
    messages: tuple[Message, ...] = field(default=(), repr=False)

    def conversation(self, case: CaseDraft) -> list[Message]:
        """Return the turns to send: the case's own, under the agent's instructions."""
        turns = rendered(case)
        if not self.instructions:
            return turns
        return [Message(role="system", content=self.instructions), *turns]


def read(batch_id: uuid.UUID, *, now: datetime) -> Assignment | None:
    """Read what a slice needs; None where the batch is not open.

    Raises:
        Conflict: its endpoint or a judge was deleted.
        UnreadableSecret: the key of one of them, or the request, cannot be decrypted.
    """
    batch = Batch.objects.select_related("endpoint").open().filter(pk=batch_id).first()
    if batch is None:
        return None
    if batch.endpoint is None:
        raise Conflict("Its model endpoint was deleted. Choose another one and run it again.")
    left = batch.deadline_at - now if batch.deadline_at else _NO_DEADLINE
    request = requests.of_batch(batch)
    return Assignment(
        batch_id=batch.pk,
        endpoint=endpoints.connection(batch.endpoint),
        prices=endpoints.prices(batch.endpoint, at=now),
        parameters=batch.parameters if request is None else dict(request.options),
        instructions=batch.instructions,
        assertions=scoring.parse(batch.assertions),
        timeout_s=batch.timeout_ms / 1000,
        concurrency=batch.concurrency,
        rates=(*_request_rates(batch.endpoint), *_delay(batch)),
        tokens=_token_rate(batch.endpoint),
        deadline=time.monotonic() + left.total_seconds(),
        graders=_graders(batch, now),
        messages=() if request is None else request.messages,
    )


def _graders(batch: Batch, now: datetime) -> dict[tuple[str, str], Grader]:
    wanted = {entry["model_id"] for entry in batch.graders}
    own = ModelEndpoint.objects.filter(project_id=batch.project_id)
    found = {str(endpoint.pk): endpoint for endpoint in own.filter(pk__in=wanted)}
    graders = {}
    for entry in batch.graders:
        endpoint = found.get(entry["model_id"])
        if endpoint is None:
            raise Conflict(
                f"The endpoint '{entry['model_name']}', which its {entry['type']} assertions ask, "
                "was deleted. Choose another one and run it again."
            )
        graders[entry["type"], entry["provider"]] = Grader(
            key=str(endpoint.pk),
            name=endpoint.name,
            endpoint=endpoints.connection(endpoint),
            prices=endpoints.prices(endpoint, at=now),
            rates=_request_rates(endpoint),
            tokens=_token_rate(endpoint),
        )
    return graders


def _request_rates(endpoint: ModelEndpoint) -> tuple[Rate, ...]:
    if not endpoint.requests_per_minute:
        return ()
    return (Rate.per_minute(f"requests:{endpoint.pk}", endpoint.requests_per_minute),)


def _delay(batch: Batch) -> tuple[Rate, ...]:
    return (Rate(f"batch:{batch.pk}", batch.delay_ms),) if batch.delay_ms else ()


def _token_rate(endpoint: ModelEndpoint) -> Rate | None:
    if not endpoint.tokens_per_minute:
        return None
    return Rate.per_minute(f"tokens:{endpoint.pk}", endpoint.tokens_per_minute)
