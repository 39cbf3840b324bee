"""What came of one attempt, and what an HTTP status means. Opens no connection."""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from alerts.models import AttemptOutcome

# Receivers may ask for a pause, but not for one longer than the longest of our own.
MOST_RETRY_AFTER = timedelta(hours=24)


@dataclass(frozen=True)
class Result:
    """`retry_after` is what the receiver asked for; `final` where trying again would not help."""

    outcome: AttemptOutcome
    sentence: str = ""
    status_code: int | None = None
    retry_after: timedelta | None = None
    final: bool = False


SENT = Result(AttemptOutcome.SENT)


def of_status(status: int, host: str, *, retry_after: timedelta | None = None) -> Result:
    """Return what the receiver's status means. Success is 2xx and nothing else."""
    outcome, remedy = _meaning(status)
    sentence = f"{status} from {host}: {remedy}" if remedy else ""
    return Result(outcome, sentence, status, retry_after)


def _meaning(status: int) -> tuple[AttemptOutcome, str]:
    match status // 100:
        case 2:
            return AttemptOutcome.SENT, ""
        case 3:
            return AttemptOutcome.REJECTED, "it redirects; give the channel the final address"
        case 5:
            return AttemptOutcome.SERVER_ERROR, "the receiver failed; it is tried again"
    if status == HTTPStatus.GONE:
        return AttemptOutcome.GONE, "the receiver wants no more of them"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return AttemptOutcome.RATE_LIMITED, "too many messages; it is tried again later"
    return AttemptOutcome.REJECTED, "not accepted; look into the receiver's log"
