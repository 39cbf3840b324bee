"""The outbox: events and their notifications, written in the transaction of what happened."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import IntegrityError, transaction

from access.hints import hint
from access.models import Membership, Role, User
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


def announce(project_id: uuid.UUID, author: User, what: Happening, *, now: datetime) -> int:
    """Store an event and whom it goes to. Call it in the transaction of what happened.

    It goes to `author`, whom it concerns, by mail, and to the project's channels. Of an author who
    has left, the project's admins get the mail. Return how many notifications there are.
    """
    event = _event(project_id, author, what, now)
    Event.objects.bulk_create([event], ignore_conflicts=True)
    if not Event.objects.filter(pk=event.pk).exists():
        return 0
    there = _is_there(author, project_id)
    sent, mailed = 0, set()
    for person in [author] if there else _admins(project_id):
        by = preferences.wanted(person, project_id, what.alert_type, what.through)
        if ChannelKind.EMAIL in by and person.email:
            mailed.add(person.email)
            sent += _send(_to_person(event, person, now))
    kinds = preferences.wanted(author if there else None, project_id, what.alert_type, what.through)
    enabled = Channel.objects.filter(project_id=project_id, enabled=True, kind__in=kinds)
    for channel in enabled:
        if channel.configuration.get("address") not in mailed:
            sent += _send(_to_channel(event, channel, now))
    return sent


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


def _to_person(event: Event, person: User, now: datetime) -> Notification:
    to_author = person.pk == event.user_id
    return Notification(
        project_id=event.project_id,
        user=person,
        event=event,
        target=Notification.AUTHOR if to_author else f"{Notification.ADMIN}{person.pk.hex}",
        kind=ChannelKind.EMAIL,
        address=person.email,
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


def _send(notification: Notification) -> bool:
    try:
        with transaction.atomic():
            notification.save(force_insert=True)
    except IntegrityError:
        # Its channel was deleted at this moment: what happened is told to the others all the same.
        logger.warning("channel deleted meanwhile", target=notification.target)
        return False
    hint(DELIVER, notification.pk)
    return True


def _is_there(person: User, project_id: uuid.UUID) -> bool:
    """Whether the person is still of the project, and may log in."""
    member = Membership.objects.filter(project_id=project_id, user=person).exists()
    return person.is_active and member


def _admins(project_id: uuid.UUID) -> list[User]:
    admins = User.objects.filter(
        memberships__project_id=project_id, memberships__role=Role.ADMIN, is_active=True
    )
    # The API may not read all of a person's row.
    return list(admins.only("id", "email").order_by("pk"))
