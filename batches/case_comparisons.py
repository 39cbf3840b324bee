"""The cases of several batches, each beside what the other batches made of it.

The first batch is what the others are held against.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import Count, Min, Q, QuerySet, Value
from django.db.models.functions import MD5

from access.errors import Invalid, NotFound
from batches import case_results
from batches.models import Batch, Job, JobStatus

MOST = 10
# A row of the answer for each case of each batch is held in memory.
MOST_CALLS = 100_000


class Show(StrEnum):
    """Which cases are wanted."""

    ALL = "all"
    RESULTS = "results"  # their outcome, score or pass rate is not the same in all batches
    ANSWERS = "answers"  # an answer is another text


class Order(StrEnum):
    SUITE = "suite"  # as the first batch asked them
    WORST = "worst"  # the greatest loss against the first batch on top


@dataclass(frozen=True)
class Side:
    """What one batch has of a case, averaged over its repeats. `outcome` is None before it ends.

    Where the repeats differ the outcome is `mixed`. `job_id` is the first of its calls. `answers`
    are digests, and only there where somebody asks for them.
    """

    batch_id: uuid.UUID
    job_id: int
    ordinal: int
    tags: Sequence[str]
    calls: int
    answered: int
    scored: int
    passed: int
    outcome: str | None
    score: float | None
    latency_ms: float | None
    ttft_ms: float | None
    cost: Decimal | None
    answers: str = ""

    @property
    def pass_rate(self) -> float | None:
        return self.passed / self.scored if self.scored else None

    @property
    def quality(self) -> float | None:
        return self.pass_rate if self.score is None else self.score


@dataclass(frozen=True)
class Row:
    """A case; `sides` are in the order of the batches, None where one does not have it."""

    key: str
    content_hash: str
    sides: Sequence[Side | None]

    @property
    def differs(self) -> bool:
        """Whether the results are not the same in all batches."""
        results = {side and (side.outcome, side.score, side.pass_rate) for side in self.sides}
        return len(results) > 1

    @property
    def answers_differ(self) -> bool:
        return len({side and side.answers for side in self.sides}) > 1

    @property
    def loss(self) -> float | None:
        """How much lower the worst of the others scored than the first.

        By the pass rate where nothing has a score; None where the first or all others lack both.
        """
        first, *others = [None if side is None else side.quality for side in self.sides]
        known = [quality for quality in others if quality is not None]
        return None if first is None or not known else first - min(known)


def find(project_id: uuid.UUID, ids: str) -> list[Batch]:
    """Return the batches of a list of ids with commas, in its order.

    Raises:
        Invalid: these are not 2 to 10 different ids.
        NotFound: the project has no such batch.
    """
    try:
        wanted = list(dict.fromkeys(uuid.UUID(text.strip()) for text in ids.split(",")))
    except ValueError:
        raise Invalid.field("ids", "Give the ids of batches, with commas between them.") from None
    if not 2 <= len(wanted) <= MOST:  # noqa: PLR2004
        raise Invalid.field("ids", f"Give the ids of 2 to {MOST} different batches.")
    found = Batch.objects.evaluations().filter(project_id=project_id).in_bulk(wanted)
    if len(found) < len(wanted):
        raise NotFound("There is no such batch in this project.")
    return [found[key] for key in wanted]


def compare(batches: Sequence[Batch], show: Show, order: Order) -> list[Row]:
    """Return the cases of the batches. One query, whatever the number of either.

    A case is the same where key and content are; an edited case is two rows.

    Raises:
        Invalid: they are too many to be set beside each other.
    """
    if sum(batch.total for batch in batches) > MOST_CALLS:
        raise Invalid(
            f"These batches have more than {MOST_CALLS:,} calls together. Choose fewer of them, "
            "or download their results."
        )
    columns = {batch.pk: number for number, batch in enumerate(batches)}
    found: dict[tuple[str, str], list[Side | None]] = {}
    for row in _grouped(list(columns), with_answers=show == Show.ANSWERS):
        sides = found.setdefault((row["case_key"], row["case_hash"]), [None] * len(batches))
        sides[columns[row["batch_id"]]] = _side(row)
    made = [Row(key, content_hash, sides) for (key, content_hash), sides in found.items()]
    made = [row for row in made if _wanted(row, show)]
    made.sort(key=_place)
    if order == Order.WORST:
        # What cannot be said to have lost comes last.
        made.sort(key=lambda row: -2.0 if row.loss is None else row.loss, reverse=True)
    return made


def answers(rows: Iterable[Row]) -> dict[int, Job]:
    """Return the first call of each case and batch by its id, with its answer alone."""
    wanted = [side.job_id for row in rows for side in row.sides if side is not None]
    return Job.objects.only("output", "error_message").in_bulk(wanted)


def _grouped(batch_ids: Sequence[uuid.UUID], *, with_answers: bool) -> QuerySet[Any, Any]:
    ended = Q(status=JobStatus.DONE)
    found: Any = (
        Job.objects.filter(batch__in=batch_ids)
        .order_by()
        .values("batch_id", "case_key", "case_hash")
        .annotate(
            job_id=Min("pk"),
            at=Min("ordinal"),
            all_tags=Min("tags"),
            ended=Count("pk", filter=ended),
            outcomes=StringAgg("outcome", Value(" "), distinct=True, filter=ended),
            **case_results.AVERAGED,
        )
    )
    if with_answers:
        digests = StringAgg(MD5("output"), Value(" "), order_by="repeat", filter=ended)
        return found.annotate(answers=digests)  # type: ignore[no-any-return]
    return found  # type: ignore[no-any-return]


def _side(row: dict[str, Any]) -> Side:
    outcomes = (row["outcomes"] or "").split()
    outcome = None
    if row["ended"] == row["calls"]:
        outcome = outcomes[0] if len(outcomes) == 1 else "mixed"
    same = ("batch_id", "job_id", *case_results.AVERAGED)
    return Side(
        ordinal=row["at"],
        tags=row["all_tags"],
        outcome=outcome,
        answers=row.get("answers") or "",
        **{name: row[name] for name in same},
    )


def _wanted(row: Row, show: Show) -> bool:
    match show:
        case Show.RESULTS:
            return row.differs
        case Show.ANSWERS:
            return row.answers_differ
        case Show.ALL:
            return True


def _place(row: Row) -> tuple[int, int]:
    """Sort by the first batch that has the case, in its order."""
    return next((number, side.ordinal) for number, side in enumerate(row.sides) if side is not None)
