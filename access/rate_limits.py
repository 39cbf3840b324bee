"""How many requests a person may make a minute, with all their keys, counted in Redis."""

import math
import time
from functools import lru_cache

import structlog
from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from access.errors import RateLimited

logger = structlog.get_logger(__name__)

# A stalled Redis delays a request by this, and by 2 s more where it hints: together under 3 s.
_PATIENCE_SECONDS = 0.5


def spend(kind: str, who: str, *, per_minute: int) -> None:
    """Count one request of `kind` by `who`.

    Redis away: the request passes, as a limit is no reason to be down.

    Raises:
        RateLimited: `per_minute` requests lie in the last 60 seconds.
    """
    item = RateLimitItemPerMinute(per_minute)
    try:
        limiter = _limiter()
        if limiter.hit(item, kind, who):
            return
        reset, _ = limiter.get_window_stats(item, kind, who)
    except StorageError as error:
        logger.warning("rate limit not counted", kind=kind, error=str(error.storage_error))
        return
    wait = max(1, math.ceil(reset - time.time()))
    raise RateLimited(
        f"More than {per_minute} {kind} requests in a minute. Wait {wait} s and go on.",
        retry_after=wait,
    )


@lru_cache(maxsize=1)
def _limiter() -> MovingWindowRateLimiter:
    """One pool of connections a process, made when it is first needed (after any fork)."""
    url = settings.REDIS_URL
    if url.startswith("unix://"):
        url = "redis+" + url
    return MovingWindowRateLimiter(
        RedisStorage(
            url,
            wrap_exceptions=True,
            key_prefix="es:limit",
            socket_timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
        )
    )
