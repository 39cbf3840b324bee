"""The broker as a Redis: whether it answers, and how many hints lie in it."""

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

QUEUES = ("ticks", "batches", "deliveries")
_PREFIX = "es:"
_PATIENCE_SECONDS = 2


def reachable() -> bool:
    try:
        with _redis() as redis:
            return bool(redis.ping())
    except (RedisError, OSError):
        return False


def lengths() -> dict[str, int]:
    """Return how many hints wait in each queue; empty while the broker is away."""
    try:
        with _redis() as redis:
            return {queue: int(redis.llen(f"{_PREFIX}{queue}")) for queue in QUEUES}
    except (RedisError, OSError):
        return {}


def _redis() -> Redis:
    # Celery writes a socket's address otherwise than redis-py does.
    url = settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://")
    return Redis.from_url(
        url.replace("virtual_host=", "db="),
        socket_timeout=_PATIENCE_SECONDS,
        socket_connect_timeout=_PATIENCE_SECONDS,
    )
