"""How much each fault test does: little in the ordinary suite, all of it with EVALSCHED_SOAK=1."""

import os
import random
from dataclasses import dataclass

# EVALSCHED_SOAK_SEED chooses other moments.
SEED = os.environ.get("EVALSCHED_SOAK_SEED", "20261122")
# With the default settings, from the end of a fault until the next result.
MOST_RESUMED_SECONDS = 45
# While Redis is away.
MOST_ANSWER_SECONDS = 3


@dataclass(frozen=True)
class Sizes:
    """`environment` holds the times of the processes; an empty value means the default.

    With `holding` whoever has a batch keeps it, so that a kill hits the one that works.
    """

    soak: bool
    cases: int
    kill_at: tuple[float, ...]
    storm_kills: int
    children_kills: int
    web_kills: int
    flush_every_s: float
    cut_every_s: float
    redis_away_s: float
    redis_frozen_s: float
    postgres_away_s: float
    # Of a call while a server is away, so that the batch outlasts the outage.
    outage_latency_ms: int
    ends_at_once: int
    # Experiments that expired, how often whoever deletes them is killed, and how often each of the
    # things is done with them that others may do meanwhile.
    expired: int
    cleanup_kills: int
    uses: int
    patience_s: float
    environment: dict[str, str]
    holding: dict[str, str]


_ORDINARY = Sizes(
    soak=False,
    cases=200,
    kill_at=(0.2,),
    storm_kills=3,
    children_kills=2,
    web_kills=4,
    flush_every_s=0.02,
    cut_every_s=0.5,
    redis_away_s=3,
    redis_frozen_s=3,
    postgres_away_s=1,
    outage_latency_ms=300,
    ends_at_once=30,
    expired=120,
    cleanup_kills=1,
    uses=3,
    patience_s=100,
    environment={},
    holding={"EVALSCHED_SLICE_SECONDS": "45"},
)
_DEFAULTS = dict.fromkeys(
    ("EVALSCHED_TICK_SECONDS", "EVALSCHED_LEASE_SECONDS", "EVALSCHED_SLICE_SECONDS"), ""
)
_SOAK = Sizes(
    soak=True,
    cases=2_000,
    kill_at=(0.25, 0.5, 0.75),
    storm_kills=20,
    children_kills=5,
    web_kills=50,
    flush_every_s=3,
    cut_every_s=2,
    redis_away_s=20,
    redis_frozen_s=60,
    postgres_away_s=5,
    outage_latency_ms=500,
    ends_at_once=200,
    expired=2_000,
    cleanup_kills=15,
    uses=25,
    patience_s=400,
    environment=_DEFAULTS,
    holding=_DEFAULTS,
)
SIZES = _SOAK if os.environ.get("EVALSCHED_SOAK") else _ORDINARY
# pytest's limit for one test.
TIMEOUT_SECONDS = 1_200 if SIZES.soak else 240


def chance(fault: str) -> random.Random:
    """Return the moments of one fault: the same in every run with the same seed."""
    return random.Random(f"{SEED}:{fault}")
