"""Signs of life: which part of the service was last seen when, and what it found."""

from collections.abc import Mapping
from datetime import datetime

from access.models import Heartbeat


def note(name: str, *, now: datetime, found: Mapping[str, int] | None = None) -> None:
    """Note that the part called `name` lives, and what it found."""
    # One statement: every tick and every worker writes one of these.
    Heartbeat.objects.bulk_create(
        [Heartbeat(name=name, seen_at=now, found=dict(found or {}))],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["seen_at", "found"],
    )


def last(name: str) -> Heartbeat | None:
    return Heartbeat.objects.filter(name=name).first()


def seen_since(since: datetime, *, kind: str) -> int:
    """Return how many parts of a kind, the first word of their name, were seen since then."""
    return Heartbeat.objects.filter(name__startswith=f"{kind} ", seen_at__gte=since).count()


def forget_old(before: datetime) -> int:
    """Forget the parts that have been gone since `before`."""
    return Heartbeat.objects.filter(seen_at__lt=before).delete()[0]
