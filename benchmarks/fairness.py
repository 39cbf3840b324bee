"""Small batches beside large ones: nobody waits behind ten thousand calls of somebody else."""

import tempfile
import time
from pathlib import Path

from benchmarks import starting
from benchmarks.figures import Figure
from benchmarks.starting import suite_of
from tests.processes_at_work import ticking, worker
from tests.servers_http import ModelServer

LARGE, LARGE_CASES, SMALL_CASES, LATENCY_MS = 10, 10_000, 10, 200
CHILDREN, TICK_SECONDS, ROUNDS = 2, 10, 3
MOST_SECONDS, PATIENCE_SECONDS = 30, 300


def measure() -> list[Figure]:
    print(f"{SMALL_CASES} cases beside {LARGE} batches of {LARGE_CASES:,}, {ROUNDS} times")
    with (
        ModelServer(latency_ms=LATENCY_MS) as server,
        tempfile.TemporaryDirectory() as logs,
        worker(Path(logs), queues="batches", concurrency=CHILDREN),
        ticking(TICK_SECONDS),
    ):
        about = starting.caller(server)
        about.run(suite_of(about, 20))
        large, small = suite_of(about, LARGE_CASES), suite_of(about, SMALL_CASES)
        others = [about.start(large) for _ in range(LARGE)]
        waits = []
        for number in range(ROUNDS):
            waits.append(about.run(small, patience_s=PATIENCE_SECONDS).seconds)
            print(f"{number + 1} of {ROUNDS}: {waits[-1]:.1f} s")
            # The next one comes at another moment of the others' slices.
            time.sleep(2.5)
        for batch_id in others:
            about.client.post(f"/api/batches/{batch_id}/cancel")
    name = f"{SMALL_CASES} cases beside {LARGE} batches of {LARGE_CASES:,}, {CHILDREN} children"
    return [
        Figure(f"{name}: POST to completed, first", waits[0], "s"),
        Figure(f"{name}: ... longest of {ROUNDS}", max(waits), "s", MOST_SECONDS),
    ]
