"""One evaluation on demand, worked on in the process that asks for it, and judged.

A worker that runs beside it may help, and none has to.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from access import audit, clock
from access.actors import Actor
from access.errors import Invalid
from access.models import AuditEvent
from batches import batches, endpoints, engine, rescues
from batches.batches import Config
from batches.models import (
    BATCH_OPEN,
    Agent,
    Batch,
    BatchStatus,
    ModelEndpoint,
    TestCase,
    TestSuite,
)
from evalsched import comparisons, reports
from evalsched.comparisons import Compared
from evalsched.models import Run
from evalsched.pairing import LEAST_COVERAGE_PERCENT
from evalsched.verdicts import Comparison, Rules, Verdict

# In place of an id: the newest good batch of the same suite, model and agent, see `_last`.
LAST = "last"
# Keeps of a batch that it was found worse than its baseline.
WORSE = "batch.regressed"
# So many names are told to somebody who gave another one.
_NAMED = 5
# How long to wait where everything that is left is in the hands of others.
_PAUSE_SECONDS = 0.5


class Exit(IntEnum):
    """What the process tells the one that started it."""

    NO_REGRESSION = 0
    REGRESSED = 1
    CANNOT_SAY = 2


@dataclass(frozen=True)
class Question:
    """What is evaluated, and what it is compared with; without a baseline only whether it ran."""

    suite: TestSuite
    endpoint: ModelEndpoint
    baseline: Compared | None
    rules: Rules
    agent: Agent | None = None


@dataclass(frozen=True)
class Answer:
    """How it ended, in a sentence; `comparison` is None where nothing was compared."""

    exit: Exit
    sentence: str
    comparison: Comparison | None = None


def ask(
    actor: Actor,
    *,
    suite: str,
    model: str | None = None,
    agent: str | None = None,
    baseline: str | None,
    threshold: float | None,
) -> Question:
    """Find what is meant by names, and the baseline by its id or as `LAST`.

    A model answers or an agent, which has a model. `threshold` is a percentage; left out the rules
    are those of the baseline's schedule.

    Raises:
        Invalid: something of it does not exist in the actor's project.
        Conflict: the baseline is under way.
    """
    found = TestSuite.objects.filter(project=actor.project, name=suite).first()
    if found is None:
        raise _unknown("suite", suite, TestSuite.objects.filter(project=actor.project))
    answering = None if agent is None else _agent(actor, agent)
    endpoint = answering.endpoint if answering else endpoints.find(actor.project.pk, model or "")
    compared = None if baseline is None else _baseline(actor, baseline, found, endpoint, answering)
    scheduled = compared is not None and compared.run is not None
    rules = comparisons.rules_of(compared.run.schedule) if scheduled else Rules()  # type: ignore[union-attr]
    if threshold is not None:
        rules = replace(rules, threshold_percent=threshold)
    return Question(found, endpoint, compared, rules, answering)


def start(actor: Actor, question: Question, config: Config, *, now: datetime) -> Batch:
    """Make the batch.

    Raises:
        Invalid: as `batches.create`.
    """
    with transaction.atomic():
        batch = batches.create(
            user_id=actor.user.pk,
            endpoint=question.endpoint,
            agent=question.agent,
            suite=question.suite,
            config=config,
            now=now,
        )
        audit.record(actor, "batch.started", batch)
    return batch


def work(batch_id: uuid.UUID, *, stopping: Callable[[], bool]) -> None:
    """Work on the batch until it has ended or `stopping()`, freeing what other workers lost."""
    while not stopping():
        engine.work(batch_id, stopping=stopping)
        now = clock.database_now()
        rescues.free_lost(now)
        rescues.end_late(now)
        batch = Batch.objects.filter(pk=batch_id).only("status", "running").first()
        if batch is None or batch.status not in BATCH_OPEN:
            return
        if batch.running:
            time.sleep(_PAUSE_SECONDS)


def judge(actor: Actor, question: Question, batch: Batch, *, strict: bool = False) -> Answer:
    """Say what came of a batch that has ended; one that got worse is no `LAST` of later ones.

    Under `strict` it cannot be said either where the statistics leave a gated metric open.
    """
    if batch.status != BatchStatus.COMPLETED:
        why = batch.error_message or "See its results."
        return Answer(Exit.CANNOT_SAY, f"The batch ended {batch.status}. {why}")
    covered = (batch.total - batch.errors) * 100 / batch.total
    least = settings.EVALSCHED_MIN_COVERAGE_PERCENT
    if covered < least:
        sentence = (
            f"Only {covered:.0f} % of the calls were answered, at least {least} % are needed."
        )
        return Answer(Exit.CANNOT_SAY, sentence)
    if question.baseline is None:
        return Answer(Exit.NO_REGRESSION, "There is no baseline, so nothing was compared.")
    comparison = comparisons.compare(question.baseline, Compared(batch, None), question.rules)
    sentence = reports.overall(comparison)
    if comparison.not_comparable:
        return Answer(Exit.CANNOT_SAY, sentence, comparison)
    if comparison.regression_detected:
        audit.record(actor, WORSE, batch, {"baseline": str(question.baseline.batch.pk)})
        return Answer(Exit.REGRESSED, sentence, comparison)
    undecided = any(found.gated and found.verdict in _OPEN for found in comparison.metrics)
    said = Exit.CANNOT_SAY if strict and undecided else Exit.NO_REGRESSION
    return Answer(said, sentence, comparison)


_OPEN = frozenset({Verdict.INCONCLUSIVE, Verdict.INSUFFICIENT})


def _agent(actor: Actor, name: str) -> Agent:
    lasting = Agent.objects.filter(project=actor.project, ephemeral_batch__isnull=True)
    found = lasting.select_related("endpoint").filter(name=name).first()
    if found is None:
        raise _unknown("agent", name, lasting)
    return found


def _unknown(kind: str, name: str, there_are: QuerySet[Any]) -> Invalid:
    """Say that nothing has that name, and what has one."""
    names = [f"'{found}'" for found in there_are.order_by("name").values_list("name", flat=True)]
    said = f"There is no {kind} named '{name}' in this project."
    if not names:
        return Invalid(f"{said} It has no {kind} yet.")
    return Invalid(f"{said} There {'is' if len(names) == 1 else 'are'} {_listed(names)}.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" and more" if len(names) > _NAMED else "")


def _baseline(
    actor: Actor,
    wanted: str,
    suite: TestSuite,
    endpoint: ModelEndpoint,
    agent: Agent | None,
) -> Compared | None:
    if wanted == LAST:
        same = Batch.objects.filter(
            project=actor.project, suite=suite, endpoint=endpoint, agent=agent
        )
        last = _last(same)
        return None if last is None else comparisons.find(actor.project.pk, last, field="baseline")
    try:
        key = uuid.UUID(wanted)
    except ValueError:
        raise Invalid(f"A baseline is the id of a run or batch, or '{LAST}'.") from None
    return comparisons.find(actor.project.pk, key, field="baseline")


def _last(batches_of_same: QuerySet[Batch]) -> uuid.UUID | None:
    """Return the newest that is worth comparing with: what was found worse must stay so.

    It asked the whole suite, was answered as a comparison needs it, tried nothing out, and neither
    it nor the batch that it scores anew was found worse. Where any has scores, it has some.
    """
    worse = AuditEvent.objects.filter(action=WORSE).filter(
        Q(object_id=Cast(OuterRef("pk"), TextField()))
        | Q(object_id=Cast(OuterRef("rescored_from"), TextField()))
    )
    regressed = Run.objects.filter(
        Q(batch=OuterRef("pk")) | Q(batch=OuterRef("rescored_from")), regression_detected=True
    )
    good = batches_of_same.filter(
        ~Exists(worse),
        ~Exists(regressed),
        status=BatchStatus.COMPLETED,
        tracking_id="",
        errors__lte=F("total") * (100 - LEAST_COVERAGE_PERCENT) / 100.0,
    )
    scored = good.filter(Q(passed__gt=0) | Q(failed__gt=0))
    for found in (scored, good):
        newest = found.order_by("-completed_at").iterator(chunk_size=50)
        if last := next((batch.pk for batch in newest if _whole(batch)), None):
            return last
    return None


def _whole(batch: Batch) -> bool:
    cases = TestCase.objects.filter(suite=batch.suite_id).of_version(batch.suite_version)
    return batch.total == cases.count() * batch.repeats
