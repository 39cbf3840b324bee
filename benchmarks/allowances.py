"""An endpoint's limit over two workers, judged by when the calls reach the model's server."""

import tempfile
from pathlib import Path

from batches.allowances import Rate
from benchmarks import starting
from benchmarks.figures import Figure, cpu_ms, family
from benchmarks.starting import suite_of
from tests.processes_at_work import worker
from tests.servers_http import ModelServer

PER_MINUTE, CASES, LATENCY_MS = 600, 700, 50
# More than one worker takes on by itself, so that both have calls waiting for their turn.
WIDTH = 200
LEAST_SHARE = 95
# By which a worker that took part is known from one that was idle.
SOME_WORK_MS = 500


def measure() -> list[Figure]:
    rate = Rate.per_minute("", PER_MINUTE)
    a_second = 1000 / rate.interval_ms
    print(f"{CASES} calls at {PER_MINUTE} a minute, two workers: {CASES / a_second:.0f} s")
    with (
        ModelServer(latency_ms=LATENCY_MS) as server,
        tempfile.TemporaryDirectory() as logs,
        worker(Path(logs), queues="batches", concurrency=1) as one,
        worker(Path(logs), queues="batches", concurrency=1) as other,
    ):
        warm = starting.caller(server)
        for _ in range(4):
            warm.run(suite_of(warm, 20))
        server.reset()
        server.configure(latency_ms=LATENCY_MS)
        about = starting.caller(server, requests_per_minute=PER_MINUTE)
        pids = [worker.process.pid for worker in (one, other)]
        before = [cpu_ms(family(pid)) for pid in pids]
        about.run(suite_of(about, CASES), concurrency=WIDTH, patience_s=180)
        used = [cpu_ms(family(pid)) - ms for pid, ms in zip(pids, before, strict=True)]
        starts = server.calls().starts
    assert min(used) > SOME_WORK_MS, f"one worker did nothing: {used}"
    span = starts[-1] - starts[0]
    name = f"{PER_MINUTE} requests a minute, two workers"
    return [
        Figure(
            f"{name}: most calls in any second",
            most_within(starts, 1.0),
            "calls",
            a_second + rate.burst,
        ),
        Figure(
            f"{name}: used of what was allowed in {span:.0f} s",
            100 * len(starts) / (rate.burst + a_second * span),
            "%",
            LEAST_SHARE,
            least=True,
        ),
        Figure(f"{name}: CPU a call, both workers", sum(used) / CASES, "ms"),
    ]


def most_within(starts: list[float], seconds: float) -> int:
    """Return the most arrivals that lie within `seconds`, wherever these begin."""
    most = first = 0
    for last, at in enumerate(starts):
        while at - starts[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
