"""Notifications on their way: claimed, sent with no transaction open, and what came of it kept."""

import random
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q

from access import audit
from access.actors import Actor
from access.errors import Conflict, Refusal
from access.hints import hint
from alerts import directory
from alerts.channels import email, results, slack, webhook
from alerts.channels.results import Result
from alerts.models import (
    AlertType,
    Attempt,
    AttemptOutcome,
    Channel,
    ChannelKind,
    Event,
    Notification,
    NotificationStatus,
)
from alerts.notifications import DELIVER

logger = structlog.get_logger(__name__)

# Waits before the attempts. Source: Standard Webhooks' recommended schedule, for the others too.
RETRY_AFTER = [
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
]
# Longer than a slow mail server takes for all its steps: a delivery under way is not a lost one.
LEASE = timedelta(minutes=5)
# The same for one HTTP request, whose deadline is channels.http.TIMEOUT_S.
LEASE_OF_HTTP = timedelta(minutes=1)
HINT_AGAIN = timedelta(seconds=30)
# The least time between two messages of one channel. Those named here take one at a time: a
# receiver that is slow to answer takes one worker, not all of them.
PACES = {ChannelKind.WEBHOOK: timedelta(0), ChannelKind.SLACK: slack.PACE}
# How long a receiver that answered nothing is left alone, whatever waits for it.
REST = timedelta(minutes=1)
# The longest that one notification's Retry-After holds up the channel's others.
MOST_REST = timedelta(minutes=10)


@dataclass(frozen=True)
class Next:
    """Who waits for the same channel, and how long that wants to be left alone before."""

    notification_id: uuid.UUID
    after: timedelta


def deliver(notification_id: uuid.UUID, *, now: datetime) -> Next | None:
    """Make one attempt: claim it, send it, record what came of it.

    Return who waits for its channel, where that takes one at a time; the caller may deliver it.
    """
    notification = _claim(notification_id, now)
    if notification is None:
        return None
    if obstacle := _obstacle(notification):
        give_up(notification, obstacle)
        return None
    if _is_overtaken(notification):
        give_up(notification, "A later notice of the same alert has arrived already.")
        return _following(notification, now)
    started = time.monotonic()
    result = _sent(notification, now)
    took = timedelta(seconds=time.monotonic() - started)
    _record(notification, result, now, took)
    return _next(notification, result, now + took)


def rescue(now: datetime) -> int:
    """Free deliveries whose worker was lost, and hint those whose time has come."""
    lost = Notification.objects.filter(status=NotificationStatus.SENDING, lease_expires_at__lt=now)
    for notification in lost[:500]:
        _free(notification, now)
    waiting = Notification.objects.filter(
        status=NotificationStatus.PENDING, not_before__lte=now
    ).filter(Q(hinted_at=None) | Q(hinted_at__lt=now - HINT_AGAIN))
    due = list(waiting.order_by("not_before").values_list("pk", flat=True)[:500])
    if not due:
        return 0
    with transaction.atomic():
        Notification.objects.filter(pk__in=due).update(hinted_at=now)
        for notification_id in due:
            hint(DELIVER, notification_id)
    return len(due)


def replay(actor: Actor, notification: Notification, *, now: datetime) -> Notification:
    """Send it again, under the same id, from the beginning of the retry schedule.

    Raises:
        Conflict: it is under way, or its channel is gone or switched off.
    """
    if obstacle := _obstacle(notification):
        raise Conflict(obstacle)
    with transaction.atomic():
        ended = Notification.objects.filter(pk=notification.pk).exclude(
            status=NotificationStatus.SENDING
        )
        moved = ended.move(
            NotificationStatus.PENDING, attempts=0, not_before=now, sent_at=None, hinted_at=now
        )
        if not moved:
            raise Conflict("This notification is under way already; nothing was changed.")
        audit.record(actor, "notification.replayed", notification)
        hint(DELIVER, notification.pk)
    notification.refresh_from_db()
    return notification


def give_up(notification: Notification, why: str) -> None:
    """End a notification without another attempt."""
    Notification.objects.filter(pk=notification.pk, claim_no=notification.claim_no).move(
        NotificationStatus.FAILED, lease_expires_at=None, error_message=why
    )


def _claim(notification_id: uuid.UUID, now: datetime) -> Notification | None:
    """Take the notification, and its channel's turn. Lock order: channel, notification."""
    due = Notification.objects.filter(
        pk=notification_id, status=NotificationStatus.PENDING, not_before__lte=now
    )
    with transaction.atomic():
        seen = due.select_related("event", "channel").first()
        if seen is None:
            return None
        if not (_obstacle(seen) or _is_overtaken(seen) or _has_its_turn(seen, now)):
            return None
        lease = LEASE if seen.kind == ChannelKind.EMAIL else LEASE_OF_HTTP
        if not due.move(
            NotificationStatus.SENDING,
            claim_no=F("claim_no") + 1,
            attempts=F("attempts") + 1,
            lease_expires_at=now + lease,
        ):
            # Somebody else was faster, so the turn is not needed.
            transaction.set_rollback(True)
            return None
        seen.refresh_from_db(fields=["status", "claim_no", "attempts", "lease_expires_at"])
    return seen


def _has_its_turn(notification: Notification, now: datetime) -> bool:
    """Take the channel for this one message, where it takes one at a time."""
    if notification.kind not in PACES or notification.channel is None:
        return True
    free = Channel.objects.filter(pk=notification.channel.pk).filter(
        Q(busy_until=None) | Q(busy_until__lte=now)
    )
    return bool(free.update(busy_until=now + LEASE_OF_HTTP))


def _next(notification: Notification, result: Result, ended: datetime) -> Next | None:
    """Give the channel back, after its pace or a rest; return who waits for it if there is none."""
    pace = PACES.get(ChannelKind(notification.kind))
    if pace is None or notification.channel is None:
        return None
    pause = max(pace, _rest(result))
    Channel.objects.filter(pk=notification.channel.pk).update(
        busy_until=ended + pause if pause else None
    )
    return None if pause > pace else _following(notification, ended)


def _following(notification: Notification, now: datetime) -> Next | None:
    """Return who waits for the same channel, where that takes one at a time."""
    pace = PACES.get(ChannelKind(notification.kind))
    if pace is None or notification.channel is None:
        return None
    waiting = Notification.objects.filter(
        channel=notification.channel,
        status=NotificationStatus.PENDING,
        not_before__lte=now,
    )
    found = waiting.order_by("not_before", "pk").values_list("pk", flat=True).first()
    return None if found is None else Next(found, pace)


def _rest(result: Result) -> timedelta:
    """Return how long the channel is left alone after such a result, beyond its pace."""
    if result.outcome == AttemptOutcome.TIMEOUT:
        return REST
    if result.outcome == AttemptOutcome.RATE_LIMITED and result.retry_after is not None:
        return min(result.retry_after, MOST_REST)
    return timedelta(0)


def _obstacle(notification: Notification) -> str:
    """Return why it cannot be sent at all, or an empty string."""
    channel = notification.channel
    if channel is None:
        personal = notification.target == Notification.AUTHOR or notification.to_admin
        return "" if personal else "Its channel was deleted."
    if channel.enabled or notification.event.alert_type == AlertType.CHANNEL_TEST:
        return ""
    return f"The channel {channel.name} is disabled. Enable it, then send this again."


def _is_overtaken(notification: Notification) -> bool:
    """Whether its target knows more of the episode already: "Firing" after "Resolved" is false.

    What somebody sends again goes out all the same.
    """
    event = notification.event
    sent_again = notification.claim_no > notification.attempts
    if not (event.episode and event.notice) or sent_again:
        return False
    later = Event.objects.filter(
        project_id=event.project_id, episode=event.episode, occurred_at__gt=event.occurred_at
    )
    return Notification.objects.filter(
        event__in=later.exclude(notice=""),
        target=notification.target,
        status=NotificationStatus.SENT,
    ).exists()


def _sent(notification: Notification, now: datetime) -> Result:
    """Send it by its kind of channel; whatever goes wrong is a result."""
    event, channel = notification.event, notification.channel
    try:
        if notification.kind == ChannelKind.WEBHOOK and channel is not None:
            return webhook.send(notification, event, channel, now=now)
        if notification.kind == ChannelKind.SLACK and channel is not None:
            return slack.send(event, channel, now=now)
        email.send(notification, event)
    except Refusal as refusal:
        return Result(AttemptOutcome.ERROR, refusal.message)
    except Exception as error:  # noqa: BLE001  any backend, any reason: it is recorded and retried
        return email.failed(error)
    return results.SENT


def _record(notification: Notification, result: Result, now: datetime, took: timedelta) -> None:
    """Write down the attempt and what follows from it, unless another worker has taken it over."""
    gone = notification.channel if result.outcome == AttemptOutcome.GONE else None
    with transaction.atomic():
        if gone is not None:
            # Before the notification, as deleting does: in the other order the two could deadlock.
            Channel.objects.select_for_update(no_key=True).filter(pk=gone.pk).first()
        if not _moved(notification, result, now):
            return
        _note(notification, result, now, took)
        if gone is not None:
            directory.disable(gone, f"{result.sentence}.", now=now)
    about = {"id": str(notification.pk), "channel": notification.kind}
    if result.outcome == AttemptOutcome.SENT:
        logger.info("notification sent", **about)
        return
    logger.warning(
        "notification failed",
        **about,
        attempt=notification.attempts,
        outcome=str(result.outcome),
        why=result.sentence,
    )


def _moved(notification: Notification, result: Result, now: datetime) -> bool:
    mine = Notification.objects.filter(pk=notification.pk, claim_no=notification.claim_no)
    if result.outcome == AttemptOutcome.SENT:
        sent = mine.move(
            NotificationStatus.SENT, sent_at=now, lease_expires_at=None, error_message=""
        )
        return bool(sent)
    if _is_last(notification, result):
        failed = mine.move(
            NotificationStatus.FAILED, lease_expires_at=None, error_message=result.sentence
        )
        return bool(failed)
    wait = RETRY_AFTER[notification.attempts] * random.uniform(1, 1.1)  # noqa: S311  spread only
    again = mine.move(
        NotificationStatus.PENDING,
        not_before=now + max(wait, result.retry_after or wait),
        lease_expires_at=None,
        hinted_at=None,
        error_message=result.sentence,
    )
    return bool(again)


def _is_last(notification: Notification, result: Result) -> bool:
    return (
        result.final
        or result.outcome == AttemptOutcome.GONE
        or notification.attempts >= len(RETRY_AFTER)
        or notification.event.alert_type == AlertType.CHANNEL_TEST
    )


def _free(notification: Notification, now: datetime) -> None:
    """Take a delivery from its lost worker. It may have arrived: it goes out once more."""
    mine = Notification.objects.filter(pk=notification.pk, claim_no=notification.claim_no)
    with transaction.atomic():
        if mine.filter(status=NotificationStatus.SENDING).move(
            NotificationStatus.PENDING, lease_expires_at=None, hinted_at=None
        ):
            sentence = "Its worker was lost on the way; it is sent again."
            _note(notification, Result(AttemptOutcome.LOST, sentence), now, None)


def _note(
    notification: Notification, result: Result, now: datetime, took: timedelta | None
) -> None:
    Attempt(
        project_id=notification.project_id,
        user_id=notification.user_id,
        notification=notification,
        number=notification.claim_no,
        outcome=result.outcome,
        status_code=result.status_code,
        error_message=result.sentence,
        started_at=now,
        duration_ms=None if took is None else took / timedelta(milliseconds=1),
    ).save(force_insert=True)
