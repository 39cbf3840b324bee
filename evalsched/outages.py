"""Telling operators that the scheduler stands still. For those who live beside the tick.

What was told last is the memory: an outage goes on from the event that told of its beginning to
the one that tells of its end.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection, transaction
from django.db.models import QuerySet

from access import projects
from access.models import User
from alerts import notifications
from alerts.models import AlertType, Event
from alerts.notifications import Happening
from alerts.rules import Notice

_LOCK = 7_301_002
# In the order of the keys, so that the last one says how things stand.
_BEGAN, _ENDED = "1 began", "2 ended"
HEALTH = "/api/cron/scheduled-evaluations/health"


def follow(stuck: str, *, now: datetime) -> None:
    """Tell operators once that the scheduler is stuck, and once that it is at work again.

    `stuck` is the pulse's sentence, empty when all is well.
    """
    with transaction.atomic():
        if not _alone():
            return
        began = _open_since()
        if stuck and began is None:
            _tell_of_beginning(stuck, now)
        elif not stuck and began is not None:
            _tell_of_end(began, now)


def _open_since() -> datetime | None:
    """Return when the outage under way was told of."""
    told = Event.objects.filter(alert_type=AlertType.SCHEDULER_UNHEALTHY).order_by("-key").first()
    if told is None or _BEGAN not in told.key:
        return None
    return datetime.fromisoformat(told.key.partition(" ")[0])


def _tell_of_beginning(stuck: str, now: datetime) -> None:
    _tell(
        now,
        _BEGAN,
        notice=Notice.FIRING,
        subject="The scheduler stands still",
        summary=f"{stuck} Until this is put right what is due may not run, and nobody may be told.",
        facts=[("Noticed at", _utc(now)), ("Look at", f"{HEALTH}, docs/troubleshooting.md")],
        now=now,
    )


def _tell_of_end(began: datetime, now: datetime) -> None:
    minutes = max(round((now - began).total_seconds() / 60), 1)
    _tell(
        began,
        _ENDED,
        notice=Notice.RESOLVED,
        subject="Resolved: the scheduler is at work again",
        summary="It ticks, and nothing is overdue. What was missed follows each schedule's policy.",
        facts=[("Noticed at", _utc(began)), ("Lasted about", f"{minutes} min")],
        now=now,
    )


def _tell(
    began: datetime,
    what: str,
    *,
    notice: Notice,
    subject: str,
    summary: str,
    facts: Iterable[tuple[str, str]],
    now: datetime,
) -> None:
    since = began.astimezone(UTC).isoformat(timespec="microseconds")
    for operator in _operators():
        happening = Happening(
            alert_type=AlertType.SCHEDULER_UNHEALTHY,
            key=f"{since} {what} {operator.pk}",
            subject=subject,
            summary=summary,
            facts=list(facts),
            path="/admin/",
            episode=f"{since} {operator.pk}",
            notice=notice,
        )
        # It concerns no project; their own one has the channels that they chose for themselves.
        own = projects.personal_of(operator)
        notifications.announce(own.pk, operator, happening, now=now)


def _operators() -> QuerySet[User]:
    return User.objects.filter(is_superuser=True, is_active=True).order_by("pk")


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])


def _utc(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
