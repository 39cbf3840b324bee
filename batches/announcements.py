"""What batches tell people, in words that say what to do."""

from datetime import datetime

from alerts import notifications
from alerts.models import AlertType
from alerts.notifications import Happening
from batches.models import Batch, BatchStatus


def ended(batch: Batch, status: BatchStatus, why: str, *, now: datetime) -> None:
    """Tell the batch's author that it has ended. Whoever cancelled it knows.

    A schedule tells of its own runs. Schedules live above this app, so they are found by the
    relation's name.
    """
    if status == BatchStatus.CANCELLED or batch.runs.exists():
        return
    good = status == BatchStatus.COMPLETED
    facts = [
        ("Suite", batch.suite_name),
        ("Model", batch.model_name),
        ("Status", str(status)),
        ("Calls", f"{batch.done} of {batch.total}"),
        ("Passed", str(batch.passed)),
        ("Failed", str(batch.failed)),
        ("Errors", str(batch.errors)),
    ]
    if batch.total_cost is not None:
        facts.append(("Cost", f"{batch.total_cost.normalize():f} USD"))
    what = Happening(
        alert_type=AlertType.BATCH_COMPLETED if good else AlertType.BATCH_FAILED,
        # A batch that is resumed ends once more.
        key=f"{batch.pk} {now.isoformat()}",
        subject=f"Batch {'completed' if good else 'failed'}: {batch}",
        summary=(
            f"{batch.passed} of {batch.total} calls passed."
            if good
            else f"{why} Correct this, then resume the batch."
        ),
        facts=facts,
        path=f"/admin/batches/batch/{batch.pk}/change/",
    )
    notifications.announce(batch.project_id, batch.user, what, now=now)
