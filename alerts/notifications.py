"""The outbox: events and their notifications, written in the transaction of what happened."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import IntegrityError, transaction

from access.hints import hint
from access.models import Membership, User
from alerts import preferences
from alerts.channels import wording
from alerts.models import AlertType, Channel, ChannelKind, Event, Notification

logger = structlog.get_logger(__name__)
DELIVER = "alerts.deliver"


@dataclass(frozen=True)
class Happening:
    """What is to be told. `key` names it among those of its type: told twice, it is stored once.

    `facts` are rows of label and value. `links` are rows of label and path, for what else can be
    done about it. Happenings of one `episode` are shown together, and `notice` says where in it
    they stand. `through` are the kinds of channels it may go out by; mail to the author counts as
    EMAIL.
    """

    alert_type: AlertType
    key: str
    subject: str
    summary: str
    facts: Sequence[tuple[str, str]] = ()
    path: str = ""
    links: Sequence[tuple[str, str]] = ()
    episode: str = ""
    notice: str = ""
    through: frozenset[ChannelKind] = frozenset(ChannelKind)


def announce(project_id: uuid.UUID, author: User, what: Happening, *, now: datetime) -> None:
    """Store an event and whom it goes to. Call it in the transaction of what happened.

    It goes to `author`, whom it concerns, by mail, and to the project's channels.
    """
    event = _event(project_id, author, what, now)
    Event.objects.bulk_create([event], ignore_conflicts=True)
    if not Event.objects.filter(pk=event.pk).exists():
        return
    kinds = preferences.wanted(author, project_id, what.alert_type, what.through)
    by_mail = ChannelKind.EMAIL in kinds and _may_hear(author, project_id)
    if by_mail:
        _send(_to_author(event, author, now))
    enabled = Channel.objects.filter(project_id=project_id, enabled=True, kind__in=kinds)
    for channel in enabled:
        if not (by_mail and channel.configuration.get("address") == author.email):
            _send(_to_channel(event, channel, now))


def for_one(event: Event, channel: Channel, *, now: datetime) -> Notification:
    """Store an event that goes to one channel only, whatever anybody prefers.

    Nobody is woken: the caller delivers it.
    """
    event.save(force_insert=True)
    notification = _to_channel(event, channel, now)
    # Or a tick at this moment would hand it to a worker.
    notification.hinted_at = now
    notification.save(force_insert=True)
    return notification


def _event(project_id: uuid.UUID, author: User, what: Happening, now: datetime) -> Event:
    return Event(
        project_id=project_id,
        user=author,
        alert_type=what.alert_type,
        key=what.key,
        episode=what.episode,
        notice=what.notice,
        # What a name or an error brings along must not look like lines of ours.
        subject=wording.one_line(what.subject)[:300],
        summary=wording.one_line(what.summary),
        facts=[[label, wording.one_line(value)] for label, value in what.facts],
        path=what.path,
        links=[list(link) for link in what.links],
        occurred_at=now,
    )


def _to_author(event: Event, author: User, now: datetime) -> Notification:
    return Notification(
        project_id=event.project_id,
        user=author,
        event=event,
        kind=ChannelKind.EMAIL,
        address=author.email,
        not_before=now,
    )


def _to_channel(event: Event, channel: Channel, now: datetime) -> Notification:
    return Notification(
        project_id=event.project_id,
        user_id=event.user_id,
        event=event,
        channel=channel,
        target=str(channel.pk),
        kind=channel.kind,
        address=shown_address(channel),
        not_before=now,
    )


def shown_address(channel: Channel) -> str:
    """Return the mail address, or the host: the rest of a URL may be a credential."""
    place: str = channel.configuration.get("address") or channel.configuration["url"]
    return place.partition("://")[2].partition("/")[0] if "://" in place else place


def _send(notification: Notification) -> None:
    try:
        with transaction.atomic():
            notification.save(force_insert=True)
    except IntegrityError:
        # Its channel was deleted at this moment: what happened is told to the others all the same.
        logger.warning("channel deleted meanwhile", target=notification.target)
        return
    hint(DELIVER, notification.pk)


def _may_hear(person: User, project_id: uuid.UUID) -> bool:
    """Whether the person can be reached and is still of the project."""
    member = Membership.objects.filter(project_id=project_id, user=person).exists()
    return bool(person.email) and person.is_active and member
