"""Webhooks as Standard Webhooks wants them: signed, dated, with an id that stays the same.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import json
import secrets
from datetime import datetime
from typing import Any

from alerts.channels import http, wording
from alerts.channels.results import Result
from alerts.models import Channel, Event, Notification

MAX_BYTES = 20_000
_PREFIX = "whsec_"
_SECRET_BYTES = 32
# The longest a text may be and how many facts, tried in turn until the whole fits. The last one
# always does: a character takes at most 12 bytes.
_CUTS = ((8_000, 50), (2_000, 20), (500, 10), (50, 8))
_MOST_LINKS = 5


def send(notification: Notification, event: Event, channel: Channel, *, now: datetime) -> Result:
    """POST the event, signed with the channel's secret, and the previous one while that counts.

    Raises:
        UnreadableSecret: the key that encrypted the secret is gone.
    """
    body = payload(notification, event)
    message_id, timestamp = str(notification.pk), int(now.timestamp())
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            sign(secret, message_id, timestamp, body) for secret in secrets_of(channel, now)
        ),
    }
    return http.post(channel.configuration["url"], body, headers, now=now)


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def secrets_of(channel: Channel, now: datetime) -> list[str]:
    """Return the secrets to sign with, the newest first."""
    found = [channel.secret]
    expires_at = channel.previous_secret_expires_at
    if channel.previous_secret and expires_at is not None and expires_at > now:
        found.append(channel.previous_secret)
    return [secret.reveal() for secret in found]


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,` and the signature of the id, the Unix time in seconds and the raw body."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def payload(notification: Notification, event: Event) -> bytes:
    """Return the body, at most MAX_BYTES of it: long texts are cut, and `truncated` says so."""
    whole = _encoded(event, _data(notification, event) | {"truncated": False})
    if len(whole) <= MAX_BYTES:
        return whole
    cut = (_encoded(event, _cut(_data(notification, event), *to)) for to in _CUTS)
    return next(body for body in cut if len(body) <= MAX_BYTES)


def _data(notification: Notification, event: Event) -> dict[str, Any]:
    links = event.links[:_MOST_LINKS]
    return {
        "event_id": str(event.pk),
        "notification_id": str(notification.pk),
        "project_id": str(event.project_id),
        "user_id": str(event.user_id),
        "episode": event.episode or None,
        "notice": event.notice or None,
        "subject": event.subject,
        "summary": event.summary,
        "facts": [{"label": label, "value": str(value)} for label, value in event.facts],
        "url": wording.url(event.path) or None,
        "links": [{"label": label, "url": wording.url(path)} for label, path in links],
    }


def _cut(data: dict[str, Any], longest: int, facts: int) -> dict[str, Any]:
    """Return the data with its texts no longer than `longest`, and so many facts."""
    kept = [
        {name: wording.clipped(text, longest) for name, text in fact.items()}
        for fact in data["facts"][:facts]
    ]
    texts = {name: wording.clipped(data[name], longest) for name in ("subject", "summary")}
    return data | texts | {"facts": kept, "truncated": True}


def _encoded(event: Event, data: dict[str, Any]) -> bytes:
    timestamp = event.occurred_at.isoformat().replace("+00:00", "Z")
    body = {"type": event.alert_type, "timestamp": timestamp, "data": data}
    return json.dumps(body, separators=(",", ":")).encode()
