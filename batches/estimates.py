"""What a batch would make of calls, tokens and money, before it is started. Changes nothing."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from access.errors import Invalid
from alerts import prices
from batches import agents, batches, endpoints, expectations, experiments, graders
from batches import documents as documents_
from batches.batches import MAX_JOBS, Config
from batches.documents import UNSEEN_CHARACTERS, Draft
from batches.experiments import Plan
from batches.graders import Grader
from batches.models import Agent, Batch, Document, ModelEndpoint, TestSuite

_JUDGES_PRICE = (
    "The price of an endpoint that judges or embeds is unknown. Set its prices, or expect more."
)


@dataclass(frozen=True)
class Estimate:
    """A guess from the lengths of the questions and the limit of the answers. Costs in USD.

    `cost` is the model's own, `judge_cost` what judges and embeddings cost beside it; where one of
    them is None, `cost_unknown_because` says why.
    """

    items: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal | None
    judge_cost: Decimal | None
    cost_unknown_because: str


def estimate(
    *,
    user_id: uuid.UUID,
    endpoint: ModelEndpoint,
    config: Config,
    now: datetime,
    agent: Agent | None = None,
    suite: TestSuite | None = None,
    documents: Sequence[Document] = (),
    plan: Plan | None = None,
    target_count: int | None = None,
) -> Estimate:
    """Guess what `batches.create`, or `experiments.create` with a plan, would start.

    Raises:
        Invalid: they would refuse it, such as a plan over its caps or an assertion without a judge.
    """
    if plan is not None:
        chosen = documents[:target_count]
        experiments.check(endpoint.project_id, user_id, plan, suite, chosen, now=now)
    batch = batches.drafted(user_id=user_id, endpoint=endpoint, agent=agent, config=config)
    if plan is not None and plan.agent is not None:
        fields = {"endpoint": endpoint, **plan.agent}
        batches.appoint(batch, agents.draft_ephemeral(batch, **fields))
        batch.endpoint = fields["endpoint"]
    if plan is not None:
        documents_.draft_ephemeral(batch, plan.documents)
    if suite is None:
        own = documents[:target_count]
        brought = [] if plan is None else [_characters(draft) for draft in plan.documents]
        items = len([*own, *brought][:target_count])
        total = documents_.characters(own) + sum(brought[: items - len(own)])
        length = total / max(items, 1)
    else:
        batch.suite, batch.suite_name = suite, suite.name
        items = min(suite.case_count, target_count or suite.case_count)
        length = expectations.mean_characters(suite)
    if not items:
        raise Invalid("There is nothing to ask. Add cases or documents first.")
    if items * config.repeats > MAX_JOBS:
        raise Invalid.field("repeats", f"A batch makes at most {MAX_JOBS:,} calls.")
    asked = graders.find(batch, items, config.judge_model_id, config.embedding_model_id)
    if batch.max_cost is not None:
        expectations.call_cost(batch, length, asked, items, now)
    return _priced(batch, items, length, asked, now)


def _priced(
    batch: Batch, items: int, length: float, asked: Sequence[Grader], now: datetime
) -> Estimate:
    calls = items * batch.repeats
    question, answer = expectations.tokens(batch, length)
    own = prices.priced(
        endpoints.prices(batch.endpoint, at=now), input_tokens=question, output_tokens=answer
    )
    why = own.unknown_because
    judged: Decimal | None = None
    try:
        judged = graders.expected_cost(asked, items, question=question, answer=answer, now=now)
    except Invalid:
        why = why or _JUDGES_PRICE
    return Estimate(
        items=items,
        calls=calls,
        input_tokens=question * calls,
        output_tokens=answer * calls,
        cost=None if own.cost is None else own.cost * calls,
        judge_cost=None if judged is None else judged * calls,
        cost_unknown_because=why,
    )


def _characters(draft: Draft) -> int:
    return UNSEEN_CHARACTERS if draft.url else len(draft.content)
