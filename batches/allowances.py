"""How often an endpoint may be called, over all workers together.

A generic cell rate algorithm in Redis: one key holds the theoretical arrival time of the next
call. Booking `n` units moves it on and answers how long to wait, so waiting calls are spaced
rather than retried. Source: ITU-T I.371, "virtual scheduling"; Redis gives the clock.
"""

import asyncio
import random
import time
from dataclasses import dataclass

import redis.asyncio
import structlog
from django.conf import settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = structlog.get_logger(__name__)

_BOOK = """
local now = redis.call('TIME')
now = now[1] * 1000 + now[2] / 1000
local interval, burst, units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local booked = tonumber(redis.call('GET', KEYS[1])) or now
local start = math.max(booked, now)
local wait = math.max(0, start - (burst - 1) * interval - now)
if units > 0 and wait > tonumber(ARGV[4]) then
    return -math.ceil(wait)
end
local after = math.max(start + units * interval, now)
redis.call('SET', KEYS[1], tostring(after), 'PX', math.ceil(after - now + burst * interval + 1000))
return math.ceil(wait)
"""
_KEY = "es:allowance:"
# Nothing is booked further ahead: a call that is given up while it waits loses its booking.
_AHEAD_MS = 1_000
# Redis away: each process keeps to this share, as it cannot know how many others there are.
_SHARE_ALONE = 0.25
# Then Redis is tried again: a stalled one would hold up each call for its time limit.
_ALONE_SECONDS = 5.0
_MINUTE_MS = 60_000


@dataclass(frozen=True)
class Rate:
    """One unit every `interval_ms`, of which `burst` may come at once."""

    key: str
    interval_ms: float
    burst: float = 1

    @classmethod
    def per_minute(cls, key: str, units: int) -> "Rate":
        """Return the rate of `units` a minute; a second's worth may come at once."""
        return cls(key, _MINUTE_MS / units, max(1.0, units / 60))


class Allowance:
    """The rates that one slice has to keep, each shared with whoever uses its key."""

    def __init__(self, client: "redis.asyncio.Redis | None" = None) -> None:
        # By default the client itself tries for seconds, and a call waits for each booking.
        self._redis = client or redis.asyncio.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=2,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
        )
        self._script = self._redis.register_script(_BOOK)
        self._alone: dict[str, float] = {}
        self._alone_until = 0.0

    async def take(self, rate: Rate, units: float = 1) -> None:
        """Wait until `units` may be used. They are booked a moment before."""
        while (wait_ms := await self.book(rate, units)) < 0:
            # Not yet: asked again when it is near, and not by all that wait at the same instant.
            pause_ms = min(-wait_ms, random.uniform(0.5, 1) * _AHEAD_MS)  # noqa: S311  spread only
            await asyncio.sleep(pause_ms / 1000)
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000)

    async def book(self, rate: Rate, units: float) -> float:
        """Book `units` (negative: give back) and return the milliseconds to wait.

        Negative: that long to wait, and nothing was booked because it is too far ahead.
        """
        if time.monotonic() < self._alone_until:
            return self._book_alone(rate, units)
        try:
            return float(
                await self._script(
                    keys=[_KEY + rate.key], args=[rate.interval_ms, rate.burst, units, _AHEAD_MS]
                )
            )
        except (RedisError, OSError) as error:
            logger.warning("endpoint limit kept alone", key=rate.key, error=type(error).__name__)
            self._alone_until = time.monotonic() + _ALONE_SECONDS
            return self._book_alone(rate, units)

    async def close(self) -> None:
        await self._redis.aclose()

    def _book_alone(self, rate: Rate, units: float) -> float:
        now = time.monotonic() * 1000
        start = max(self._alone.get(rate.key, now), now)
        self._alone[rate.key] = start + units * rate.interval_ms / _SHARE_ALONE
        return max(0.0, start - now)
