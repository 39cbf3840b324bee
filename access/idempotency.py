"""Same key and body, same answer: a POST that may be repeated without harm."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from access.actors import Actor
from access.errors import Conflict, Invalid
from access.ids import uuid7
from access.models import IdempotencyKey

KEEP = timedelta(hours=24)
_LONGEST_KEY = 200


@dataclass(frozen=True)
class Answer:
    status_code: int
    body: Any


def once(
    actor: Actor, *, route: str, key: str, body: bytes, now: datetime, work: Callable[[], Answer]
) -> Answer:
    """Do `work` unless this key was answered before; then give that answer again.

    Must be called in the transaction of the work: the row goes in first, so a second request
    with the same key waits for the first one's commit, and work that fails takes its row along.

    Raises:
        Conflict: the key was used with another body.
    """
    if len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise Invalid(f"Idempotency-Key must be at most {_LONGEST_KEY} printable ASCII characters.")
    body_hash = hashlib.sha256(body).hexdigest()
    mine = IdempotencyKey.objects.filter(
        project=actor.project, principal=actor.principal, route=route, key=key
    )
    mine.filter(created_at__lt=now - KEEP).delete()
    if not _reserve(actor, route, key, body_hash):
        stored = mine.get()
        if stored.body_hash != body_hash:
            raise Conflict("This Idempotency-Key was used with another body. Use a new key.")
        return Answer(stored.status_code or 200, stored.answer)
    answer = work()
    mine.update(status_code=answer.status_code, answer=answer.body)
    return answer


def _reserve(actor: Actor, route: str, key: str, body_hash: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO access_idempotencykey"
            " (id, project_id, user_id, created_at, principal, route, key, body_hash)"
            " VALUES (%s, %s, %s, clock_timestamp(), %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [uuid7(), actor.project.pk, actor.user.pk, actor.principal, route, key, body_hash],
        )
        return bool(cursor.rowcount)


def forget_old(now: datetime) -> int:
    """Delete what nobody may ask for again."""
    return IdempotencyKey.objects.filter(created_at__lt=now - KEEP).delete()[0]
