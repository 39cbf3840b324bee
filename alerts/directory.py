"""The project's channels: made, changed, switched on and off."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from yarl import URL

from access import audit, rows
from access.actors import Actor
from access.egress import check_url
from access.errors import Conflict, Invalid, Refusal
from access.models import AuditEvent
from alerts import notifications
from alerts.channels import http, webhook
from alerts.models import AlertType, Channel, ChannelKind, Notification, NotificationStatus
from alerts.notifications import Happening

# How long the secret before the present one signs as well. Receivers change theirs meanwhile.
ROTATION = timedelta(hours=24)
MOST_CHANNELS = 100
_MASKED = "/…"
_WANTED = {
    ChannelKind.EMAIL: "address",
    ChannelKind.WEBHOOK: "url",
    ChannelKind.SLACK: "url",
}


def create(
    actor: Actor,
    *,
    kind: str,
    name: str,
    configuration: Mapping[str, str],
    enabled: bool = True,
) -> tuple[Channel, str]:
    """Make a channel; return it with the secret that signs, which is shown this once.

    The secret is empty for what is not signed.

    Raises:
        Invalid: a field breaks a rule, the name is taken, or there are MOST_CHANNELS already.
    """
    if Channel.objects.filter(project=actor.project).count() >= MOST_CHANNELS:
        raise Invalid(f"A project has at most {MOST_CHANNELS} channels. Delete one first.")
    channel = Channel(project=actor.project, user=actor.user, kind=kind, name=name, enabled=enabled)
    _configure(channel, configuration)
    secret = ""
    if kind == ChannelKind.WEBHOOK:
        secret = channel.secret = webhook.new_secret()
    with _explained():
        channel.save(force_insert=True)
    channel.refresh_from_db()
    audit.record(actor, "channel.created", channel, {"kind": kind})
    return channel, secret


def change(actor: Actor, channel: Channel, **fields: Any) -> Channel:
    """Change the given fields. Switching it on forgets why it was off."""
    with _explained():
        channel = rows.locked(channel)
        if fields.pop("kind", channel.kind) != channel.kind:
            raise Invalid.field("kind", "A channel keeps its kind. Make another one instead.")
        if "configuration" in fields:
            _configure(channel, fields["configuration"])
        channel.name = fields.get("name", channel.name)
        channel.enabled = fields.get("enabled", channel.enabled)
        if channel.enabled:
            channel.disabled_reason = ""
        channel.save()
        audit.record(actor, "channel.changed", channel, {"fields": sorted(fields)})
    channel.refresh_from_db()
    return channel


def delete(actor: Actor, channel: Channel) -> None:
    """Delete a channel. What was sent stays on record; what waits is given up."""
    with transaction.atomic():
        channel = rows.locked(channel)
        Notification.objects.filter(channel=channel).move(
            NotificationStatus.FAILED,
            lease_expires_at=None,
            error_message="The channel was deleted.",
        )
        audit.record(actor, "channel.deleted", channel)
        channel.delete()


def rotate(actor: Actor, channel: Channel, *, now: datetime) -> tuple[Channel, str]:
    """Give a webhook a new secret and return it; the old one signs besides for ROTATION.

    Raises:
        Conflict: the channel does not sign.
    """
    if channel.kind != ChannelKind.WEBHOOK:
        raise Conflict("Only webhooks are signed, so this channel has no secret to rotate.")
    with transaction.atomic():
        channel = rows.locked(channel)
        channel.previous_secret = channel.secret
        channel.previous_secret_expires_at = now + ROTATION
        secret = channel.secret = webhook.new_secret()
        channel.save()
        audit.record(actor, "channel.secret_rotated", channel)
    channel.refresh_from_db()
    return channel, secret


def disable(channel: Channel, reason: str, *, now: datetime) -> bool:
    """Switch a channel off for `reason`, once, and tell its owner by other ways.

    The service does this itself, in a transaction of the caller's.
    """
    switched = Channel.objects.filter(pk=channel.pk, enabled=True).update(
        enabled=False, disabled_reason=reason, updated_at=now
    )
    if not switched:
        return False
    AuditEvent(
        project_id=channel.project_id,
        user_id=channel.user_id,
        via="service",
        action="channel.disabled",
        object_type="channel",
        object_id=str(channel.pk),
        object_name=channel.name,
        details={"reason": reason},
    ).save(force_insert=True)
    what = Happening(
        alert_type=AlertType.CHANNEL_DISABLED,
        key=f"{channel.pk} {now.isoformat()}",
        subject=f"Channel disabled: {channel.name}",
        summary=f"{reason} Nothing is sent through it until you enable it again.",
        facts=[("Channel", channel.name), ("Kind", channel.get_kind_display())],
        path=f"/admin/alerts/channel/{channel.pk}/change/",
    )
    notifications.announce(channel.project_id, channel.user, what, now=now)
    return True


def _configure(channel: Channel, given: Mapping[str, str]) -> None:
    """Check the configuration and store it, Slack's address as the secret that it is."""
    wanted = _WANTED[ChannelKind(channel.kind)]
    value = given.get(wanted, "")
    if set(given) != {wanted} or not value:
        raise Invalid.field("configuration", f"A channel of this kind takes '{wanted}' alone.")
    if channel.kind == ChannelKind.EMAIL:
        channel.configuration = {"address": _address(value)}
        return
    # What was shown and is sent back stands for what is stored.
    if channel.kind == ChannelKind.SLACK and channel.configuration == dict(given):
        return
    try:
        check_url(value, http.private_hosts())
    except Refusal as refusal:
        raise Invalid.field("configuration.url", refusal.message) from None
    if channel.kind == ChannelKind.SLACK:
        if value.endswith(_MASKED):
            raise Invalid.field("configuration.url", "Give the whole address as Slack shows it.")
        channel.secret, value = value, str(URL(value).origin()) + _MASKED
    channel.configuration = {"url": value}


def _address(text: str) -> str:
    try:
        validate_email(text)
    except ValidationError:
        raise Invalid.field(
            "configuration.address", "This is not a mail address, like ops@example.org."
        ) from None
    return text


@contextmanager
def _explained() -> Iterator[None]:
    """Open a transaction; say in words which rule of the database was broken in it."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "one_channel_of_a_name" in str(error):
            complaint = "A channel of this project has this name already."
            raise Invalid.field("name", complaint) from None
        raise Conflict("The channel breaks a rule of the database; nothing was saved.") from None
