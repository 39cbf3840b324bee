"""Why and how a batch ends. The caller holds the lock of its row, except for `fail`."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db import transaction

from batches import batches, budgets
from batches.models import BATCH_OPEN, Batch, BatchStatus

# So many broken calls in a row, or answers that no judge took a look at, open the circuit: the rest
# would most likely fail as well.
CIRCUIT = 5


def of_itself(batch: Batch, now: datetime) -> bool:
    """End the batch where all is done or its time is up. Return whether it is no longer open."""
    if batch.status not in BATCH_OPEN:
        return True
    if batch.done == batch.total:
        return batches.finish(batch, BatchStatus.COMPLETED, now=now)
    return in_time(batch, now)


def in_time(batch: Batch, now: datetime) -> bool:
    """End the batch where its deadline has passed."""
    if batch.deadline_at is None or batch.deadline_at > now:
        return False
    started = batch.started_at or batch.created_at
    minutes = (batch.deadline_at - started) / timedelta(minutes=1)
    advice = "No worker took it up: see that one runs that reads the queue 'batches'."
    if batch.started_at:
        what = "Ask for less" if batch.request else "Raise the concurrency, shorten the suite"
        advice = f"{what}, or raise EVALSCHED_RUN_TIMEOUT_SECONDS."
    sentence = (
        f"Timed out after {minutes:.3g} min with {batch.done} of {batch.total} calls done. {advice}"
    )
    return batches.finish(
        batch, BatchStatus.FAILED, now=now, error_class="timeout", error_message=sentence
    )


def if_hopeless(
    batch: Batch, errors: Iterable[tuple[str, str]], judges_errors: Sequence[str], now: datetime
) -> bool:
    """End the batch where the endpoint refused a call for good, or broke five times in a row.

    The same for whoever judges or embeds. `errors` are the (class, sentence) of the results that
    came in just now, `judges_errors` the sentences about judges.
    """
    sentences = [(kind, sentence) for kind, sentence in errors if sentence]
    refusal = next((sentence for kind, sentence in sentences if kind == "rejected"), None)
    if refusal:
        return batches.finish(
            batch, BatchStatus.FAILED, now=now, error_class="rejected", error_message=refusal
        )
    if batch.done == batch.total:
        return False
    if batch.consecutive_infra >= CIRCUIT:
        why = f"{batch.consecutive_infra} broken calls in a row: {sentences[-1][1]}"
    elif batch.consecutive_unjudged >= CIRCUIT and judges_errors:
        why = f"{batch.consecutive_unjudged} unjudged answers in a row: {judges_errors[-1]}"
    else:
        return False
    return batches.finish(
        batch,
        BatchStatus.STOPPED_CIRCUIT,
        now=now,
        error_class="infra",
        error_message=f"Stopped after {why}",
    )


def at_budget(batch: Batch, now: datetime) -> bool:
    """End the batch where nothing is in flight and the next call might exceed the budget."""
    if batch.max_cost is None or batch.running or budgets.affordable(batch):
        return False
    sentence = (
        f"Stopped at {batch.done} of {batch.total} calls: the next one might exceed max_cost "
        f"{batch.max_cost.normalize():f} USD, of which {budgets.spent(batch):f} are spent. "
        "Raise max_cost and resume the batch."
    )
    return batches.finish(
        batch, BatchStatus.STOPPED_BUDGET, now=now, error_class="budget", error_message=sentence
    )


def fail(batch_id: uuid.UUID, sentence: str, *, now: datetime) -> None:
    """End a batch that cannot run at all, with the reason."""
    with transaction.atomic():
        batch = Batch.objects.select_for_update().filter(pk=batch_id).first()
        if batch is not None:
            batches.finish(
                batch, BatchStatus.FAILED, now=now, error_class="rejected", error_message=sentence
            )
