"""What calls will cost, guessed from the lengths of questions before the first answer."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import connection

from access.errors import Invalid
from alerts import prices
from batches import budgets, endpoints, graders
from batches.graders import Grader
from batches.models import Batch, TestSuite

# About what one token of English has; the first answers replace the guess.
_CHARACTERS_PER_TOKEN = 4


def call_cost(
    batch: Batch, characters: float, asked: Sequence[Grader], items: int, now: datetime
) -> Decimal:
    """Guess what a call about so many characters costs, with its grading, before the first one.

    Raises:
        Invalid: a price is unknown, so a budget could not be kept.
    """
    endpoint = batch.endpoint
    question, answer = tokens(batch, characters)
    cost = prices.cost(
        endpoints.prices(endpoint, at=now), input_tokens=question, output_tokens=answer
    )
    if cost is None:
        raise Invalid.field(
            "max_cost",
            f"The price of '{endpoint.name}' is unknown, so a budget cannot be kept. "
            "Set its prices first, or leave max_cost out.",
        )
    return cost + graders.expected_cost(asked, items, question=question, answer=answer, now=now)


def tokens(batch: Batch, characters: float) -> tuple[int, int]:
    """Guess the tokens of a question of so many characters, instructions added, and its answer."""
    wanted = batch.parameters.get("max_tokens", batch.endpoint.parameters.get("max_tokens"))
    question = round((characters + len(batch.instructions)) / _CHARACTERS_PER_TOKEN)
    return question, budgets.answer_tokens(wanted)


def mean_characters(suite: TestSuite) -> float:
    """Return the mean length of the current cases' questions, templates as they are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(avg(length(coalesce(prompt, messages::text))), 0)"
            " FROM batches_testcase WHERE suite_id = %s AND removed_in IS NULL",
            [suite.pk],
        )
        return float(cursor.fetchone()[0])
