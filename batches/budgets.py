"""What a batch may still spend. Costs in USD; pure functions over the locked batch's row."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from access.errors import Invalid
from batches.models import Batch

# A guess for an answer whose length nobody limited; the first answers correct it.
_ANSWER_TOKENS = 200
_MOST_TOKENS = 1_000_000
# About what one token of English has.
_CHARACTERS_PER_TOKEN = 4


def answer_tokens(max_tokens: object) -> int:
    """Return how many tokens to expect of an answer, where the call asks for `max_tokens`."""
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int):
        return _ANSWER_TOKENS
    return min(max(max_tokens, 1), _MOST_TOKENS)


def expected_tokens(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> float:
    """Guess the tokens of a question with its answer."""
    asked = sum(len(turn["content"]) for turn in messages) / _CHARACTERS_PER_TOKEN
    return asked + answer_tokens(parameters.get("max_tokens"))


def check_change(batch: Batch, max_cost: Decimal | None) -> None:
    """Refuse a budget that could not be kept.

    Raises:
        Invalid: the batch was made without one, so nobody asked what its calls cost.
    """
    if max_cost is not None and batch.max_cost is None and not batch.expected_call_cost:
        raise Invalid.field(
            "max_cost", "This batch was made without a budget. Make a new one with max_cost."
        )


def spent(batch: Batch) -> Decimal:
    """Return what the batch has cost so far, its judges included: a budget is for all of it."""
    return (batch.total_cost or Decimal(0)) + (batch.judge_cost or Decimal(0))


def expected_cost(batch: Batch) -> Decimal:
    """Return what a call has cost so far on average; before the first answer, the guess."""
    if batch.total_cost is None or not batch.latency_count:
        return batch.expected_call_cost
    return spent(batch) / batch.latency_count


def reservation(batch: Batch) -> Decimal:
    """Return what to set aside for one call that is about to be made."""
    return Decimal(0) if batch.max_cost is None else expected_cost(batch)


def affordable(batch: Batch) -> int:
    """Return how many further calls the budget allows, those in flight already taken off.

    A guess alone never stops a batch: while nothing is known, one call may find out.
    """
    if batch.max_cost is None:
        return batch.total
    left = batch.max_cost - spent(batch) - batch.reserved_cost
    if left <= 0:
        return 0
    each = expected_cost(batch)
    calls = int(left / each) if each > 0 else batch.total
    untried = not batch.latency_count and not batch.running
    return max(calls, 1) if untried else calls
