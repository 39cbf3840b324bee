"""Who judges and who embeds: found when a batch is made, and written down in it.

An assertion names a model endpoint of its project, or leaves it to the batch. What it means is
settled once, so that a name that is given to another endpoint later changes no run under way.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from access.errors import Invalid
from alerts import prices
from batches import endpoints
from batches.models import Batch, ModelEndpoint, Provider, TestSuite
from batches.scoring.assertions import NEGATION
from batches.scoring.registry import ASKING

_RUBRIC = "llm-rubric"
_SIMILAR = "similar"
# About what the instructions and a rubric take, and a verdict, in tokens.
_ASKED_TOKENS = 400
_VERDICT_TOKENS = 100


@dataclass(frozen=True)
class Grader:
    """An endpoint that assertions of one type ask, where they name `provider` ("": no one).

    `times` is how often all cases of the suite together ask it, once each.
    """

    type: str
    provider: str
    endpoint: ModelEndpoint
    times: int

    def as_json(self) -> dict[str, Any]:
        """Return what the batch keeps: enough to find the endpoint, and to say what it was."""
        return {
            "type": self.type,
            "provider": self.provider,
            "model_id": str(self.endpoint.pk),
            "model_name": self.endpoint.name,
            "model": self.endpoint.model,
            "parameters": self.endpoint.parameters,
        }


def find(
    batch: Batch, items: int, judge_model_id: str | None, embedding_model_id: str | None
) -> list[Grader]:
    """Return whom the batch's cases and its agent's assertions ask, beside its own endpoint.

    `items` is how many cases or documents it asks about.

    Raises:
        Invalid: an assertion needs a judge and there is none, or what is named does not exist or
            cannot do it.
    """
    named: dict[str, ModelEndpoint] = {}
    if judge_model_id:
        named[_RUBRIC] = endpoints.find(batch.project_id, judge_model_id, field="judge_model_id")
    if embedding_model_id:
        named[_SIMILAR] = endpoints.find(
            batch.project_id, embedding_model_id, field="embedding_model_id"
        )
    graders = []
    for (type_, provider), times in sorted(_asked(batch, items).items()):
        whose = _whose(batch, type_, provider)
        if provider:
            found = _of_assertion(batch, type_, provider, whose)
        elif type_ == _RUBRIC and _RUBRIC not in named:
            raise Invalid.field(
                "judge_model_id",
                f"{whose} has llm-rubric assertions and names no judge for them. "
                "Give judge_model_id, or a provider in each of them.",
            )
        else:
            assert batch.endpoint is not None
            found = named.get(type_, batch.endpoint)
        if type_ == _SIMILAR and found.provider != Provider.OPENAI:
            raise Invalid.field(
                "embedding_model_id",
                f"{whose} has similar assertions, and '{found.name}' has no "
                "embeddings. Give an OpenAI-compatible endpoint whose model is one for embeddings.",
            )
        graders.append(Grader(type_, provider, found, times))
    return graders


def expected_cost(
    graders: Iterable[Grader], cases: int, *, question: int, answer: int, now: datetime
) -> Decimal:
    """Guess what one call's grading costs, for a question and an answer of so many tokens.

    Raises:
        Invalid: a price is unknown, so a budget could not be kept.
    """
    total = Decimal(0)
    for grader in graders:
        judging = grader.type == _RUBRIC
        cost = prices.cost(
            endpoints.prices(grader.endpoint, at=now),
            input_tokens=answer + (question + _ASKED_TOKENS if judging else answer),
            output_tokens=_VERDICT_TOKENS if judging else 0,
        )
        if cost is None:
            raise Invalid.field(
                "max_cost",
                f"The price of '{grader.endpoint.name}', which {grader.type} assertions ask, is "
                "unknown, so a budget cannot be kept. Set its prices, or leave max_cost out.",
            )
        total += cost * grader.times / cases
    return total


class _Whose(NamedTuple):
    """Whose assertion it is, as a sentence begins and as the field of a request."""

    name: str
    field: str

    def __str__(self) -> str:
        return self.name


def _whose(batch: Batch, type_: str, provider: str) -> _Whose:
    if (type_, provider) not in _asked_by_agent(batch):
        return _Whose(f"The suite '{batch.suite_name}'", "test_suite_id")
    own = batch.agent is not None and batch.agent.ephemeral_batch_id == batch.pk
    field = "ephemeral_agent.assertions" if own else "agent_id"
    return _Whose(f"The agent '{batch.agent_name}'", field)


def _of_assertion(batch: Batch, type_: str, provider: str, whose: _Whose) -> ModelEndpoint:
    try:
        return endpoints.find(batch.project_id, provider)
    except Invalid as refusal:
        raise Invalid.field(
            whose.field,
            f"{whose} has a {type_} assertion with a provider that cannot be used. "
            f"{refusal.message}",
        ) from None


def _asked(batch: Batch, items: int) -> Counter[tuple[str, str]]:
    """Return how often assertions of a type that name a provider ask in all."""
    asked = Counter({key: count * items for key, count in _asked_by_agent(batch).items()})
    if batch.suite is not None:
        for name, provider, times in _asked_by_cases(batch.suite):
            asked[name, provider] += times
    return asked


def _asked_by_agent(batch: Batch) -> Counter[tuple[str, str]]:
    """Return how often each type and provider occurs among the agent's assertions that ask."""
    named = (
        (str(assertion["type"]).removeprefix(NEGATION), assertion.get("provider") or "")
        for assertion in batch.assertions
    )
    return Counter((name, provider) for name, provider in named if name in ASKING)


def _asked_by_cases(suite: TestSuite) -> list[tuple[str, str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT regexp_replace(a->>'type', %s, ''), coalesce(a->>'provider', ''), count(*)
            FROM batches_testcase c CROSS JOIN jsonb_array_elements(c.assertions) a
            WHERE c.suite_id = %s AND c.project_id = %s AND c.removed_in IS NULL
                AND a->>'type' = ANY(%s)
            GROUP BY 1, 2 ORDER BY 1, 2
            """,
            [
                f"^{NEGATION}",
                suite.pk,
                suite.project_id,
                [negation + name for name in sorted(ASKING) for negation in ("", NEGATION)],
            ],
        )
        found: list[tuple[str, str, int]] = cursor.fetchall()
    return found
