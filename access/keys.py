"""API keys: `es_<prefix>_<secret>`. The database holds the prefix and a hash of the whole."""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import Q

from access import audit, strict_json
from access.actors import Actor
from access.errors import Invalid, Unauthenticated
from access.models import ApiKey, Membership, Scope

# `last_used_at` is for people who tidy up; to the minute it costs one write a minute.
_LAST_USED_GRAIN = timedelta(minutes=1)
_LONGEST_NAME = 200


def create(
    actor: Actor,
    *,
    name: str,
    scopes: Collection[str],
    now: datetime,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for the actor's project and return it with its text, which is shown this once.

    Raises:
        Invalid: by the field; a key of somebody who is no member would open nothing.
    """
    if not 1 <= len(name) <= _LONGEST_NAME or strict_json.unstorable(name):
        raise Invalid.field("name", f"Give a name of at most {_LONGEST_NAME} characters.")
    if not Membership.objects.filter(project=actor.project, user=actor.user).exists():
        raise Invalid.field(
            "project", f"{actor.user.username} is no member of {actor.project}. Add them first."
        )
    unknown = sorted(set(scopes) - set(Scope.values))
    if unknown or not scopes:
        raise Invalid.field("scopes", f"Scopes are {', '.join(Scope.values)}; at least one.")
    if expires_at is not None and expires_at <= now:
        raise Invalid.field("expires_at", "This lies in the past.")
    prefix = secrets.token_hex(5)
    text = f"es_{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        project=actor.project,
        user=actor.user,
        name=name,
        prefix=prefix,
        key_hash=_hash(text),
        scopes=sorted(set(scopes)),
        expires_at=expires_at,
    )
    key.save(force_insert=True)
    audit.record(actor, "api_key.created", key, {"name": name, "scopes": key.scopes})
    return key, text


def revoke(actor: Actor, key: ApiKey, *, now: datetime) -> None:
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
        audit.record(actor, "api_key.revoked", key, {"name": key.name})


def authenticate(text: str, *, now: datetime) -> ApiKey:
    """Return the key that `text` is.

    Raises:
        Unauthenticated: unknown, expired or revoked; the sentence does not say which of them to
            somebody who has only the prefix.
    """
    if not text.isascii() or not text.isprintable():
        raise Unauthenticated("This API key is not known here, or was revoked.")
    _, _, rest = text.partition("es_")
    prefix = rest.partition("_")[0]
    key = (
        ApiKey.objects.select_related("user", "project")
        .filter(prefix=prefix, revoked_at=None, user__is_active=True)
        .first()
    )
    known = hmac.compare_digest(key.key_hash if key else "", _hash(text))
    if key is None or not known:
        raise Unauthenticated("This API key is not known here, or was revoked.")
    if key.expires_at is not None and key.expires_at <= now:
        raise Unauthenticated("This API key has expired. Make a new one.")
    ApiKey.objects.filter(pk=key.pk).filter(
        Q(last_used_at=None) | Q(last_used_at__lt=now - _LAST_USED_GRAIN)
    ).update(last_used_at=now)
    return key


def _hash(text: str) -> str:
    """The keys hold 256 random bits, so a fast hash is as good as a slow one."""
    return hashlib.sha256(text.encode()).hexdigest()
