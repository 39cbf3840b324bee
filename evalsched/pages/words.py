"""How states, instants and amounts read on the members' pages."""

from datetime import datetime
from typing import NamedTuple

from access.admin.words import milliseconds, money, relative, score, utc
from batches.models import BatchStatus, JobOutcome
from evalsched.verdicts import Verdict

__all__ = ["milliseconds", "money", "relative", "score", "utc"]


class Label(NamedTuple):
    """A word and its colour: good, bad, warn, busy or none."""

    text: str
    tone: str = ""


STATUS_TONES = {
    "running": "busy",
    "completed": "good",
    "cancelled": "",
    "failed": "bad",
}
_BATCH_TONES = {
    BatchStatus.PENDING: "busy",
    BatchStatus.RUNNING: "busy",
    BatchStatus.COMPLETED: "good",
    BatchStatus.FAILED: "bad",
    BatchStatus.CANCELLED: "",
    BatchStatus.STOPPED_BUDGET: "warn",
    BatchStatus.STOPPED_CIRCUIT: "warn",
}
_OUTCOME_TONES = {
    JobOutcome.PASSED: "good",
    JobOutcome.FAILED: "bad",
    JobOutcome.ERROR: "warn",
    JobOutcome.UNSCORED: "",
}
_VERDICT_TONES = {
    Verdict.REGRESSED: "bad",
    Verdict.DRIFTED_DOWN: "warn",
    Verdict.UNCHANGED: "good",
    Verdict.DRIFTED_UP: "good",
    Verdict.IMPROVED: "good",
    Verdict.INCONCLUSIVE: "busy",
    Verdict.INSUFFICIENT: "",
    Verdict.NOT_COMPARABLE: "",
}


def of_batch(status: str) -> Label:
    return Label(status.replace("_", " "), _BATCH_TONES[BatchStatus(status)])


def of_outcome(outcome: str | None) -> Label:
    """Return the label of a call's outcome; None has not ended, `mixed` are repeats that differ."""
    if outcome is None:
        return Label("no result", "busy")
    return Label(outcome, "warn" if outcome == "mixed" else _OUTCOME_TONES[JobOutcome(outcome)])


def of_verdict(verdict: str) -> Label:
    return Label(verdict.replace("_", " "), _VERDICT_TONES[Verdict(verdict)])


def rest(failed: int, errors: int, unscored: int) -> str:
    """Return what did not pass as "2 failed, 1 error, 3 unscored"."""
    counted = (
        (failed, "failed"),
        (errors, "error" if errors == 1 else "errors"),
        (unscored, "unscored"),
    )
    return ", ".join(f"{count:,} {name}" for count, name in counted if count)


def expiry(instant: datetime | None, now: datetime) -> str:
    if instant is None:
        return "stays"
    return f"{'expired' if instant <= now else 'expires'} {relative(instant, now)}"
