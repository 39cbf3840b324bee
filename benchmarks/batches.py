"""Batches through a real worker: speed beside a bare loop of the same width, CPU and memory."""

import asyncio
import json
import tempfile
import time
from pathlib import Path

import aiohttp

from benchmarks import starting
from benchmarks.figures import Figure, Meter, database, family, pss_mib, redis
from benchmarks.starting import Caller, suite_of
from tests.processes_at_work import Running, worker
from tests.servers_http import ModelServer

CASES, LATENCY_MS = 1_000, 200
# How many calls at once, and how many times as long as the floor they may take.
MOST_TIMES = {100: 1.25, 20: 1.10}
MOST_TO_COMPLETED = 1.5
MOST_CPU_MS = 3
MANY_CASES, SHORT_MS, MANY_WIDTH = 10_000, 10, 100
MOST_PSS_MIB, MOST_GROWTH_MIB = 150, 20


def measure() -> list[Figure]:
    figures: list[Figure] = []
    with (
        ModelServer(latency_ms=LATENCY_MS) as server,
        tempfile.TemporaryDirectory() as logs,
        worker(Path(logs), queues="batches", concurrency=1) as running,
    ):
        about = starting.caller(server)
        about.run(suite_of(about, 20))  # a first one, so that all is imported
        suite_id = suite_of(about, CASES)
        for width in MOST_TIMES:
            figures += through_a_worker(server, about, suite_id, running, width=width)
        figures += memory(server, about, running)
    return figures


def through_a_worker(
    server: ModelServer, about: Caller, suite_id: str, running: Running, *, width: int
) -> list[Figure]:
    """Measure the floor and our way in turn, each from the first request in to the last out."""
    name = f"{CASES:,} cases of {LATENCY_MS} ms, {width} at once"
    print(f"{name}: a bare loop, then a worker")
    forget(server)
    started_cpu, started = time.process_time(), time.monotonic()
    asyncio.run(bare_loop(server, width))
    floor_wall, floor_cpu = time.monotonic() - started, time.process_time() - started_cpu
    floor = span(server)

    forget(server)
    meter = Meter(
        {"worker": lambda: family(running.process.pid), "database": database, "Redis": redis}
    )
    seconds = about.run(suite_id, concurrency=width).seconds
    used = {part: ms / CASES for part, ms in meter.used_ms().items()}
    ours, alone, most = span(server), CASES / width * LATENCY_MS / 1000, MOST_TIMES[width]
    return [
        Figure(f"{name}: bare loop, first request in to last answer out", floor, "s"),
        Figure(f"{name}: bare loop, CPU a call", floor_cpu * 1000 / CASES, "ms"),
        Figure(f"{name}: worker, first request in to last answer out", ours, "s"),
        Figure(f"{name}: ... as a multiple of the bare loop", ours / floor, "x", most),
        Figure(f"{name}: ... as a multiple of the calls alone", ours / alone, "x", most),
        Figure(f"{name}: POST to completed", seconds, "s"),
        Figure(
            f"{name}: ... as a multiple of the bare loop",
            seconds / floor_wall,
            "x",
            MOST_TO_COMPLETED,
        ),
        *(Figure(f"{name}: CPU a case, {part}", value, "ms") for part, value in used.items()),
        Figure(f"{name}: CPU a case, all three", sum(used.values()), "ms", MOST_CPU_MS),
    ]


def memory(server: ModelServer, about: Caller, running: Running) -> list[Figure]:
    """Watch the worker's only child while it works on many cases."""
    print(f"memory: {MANY_CASES:,} cases of {SHORT_MS} ms, {MANY_WIDTH} at once")
    forget(server, SHORT_MS)
    suite_id = suite_of(about, MANY_CASES)
    (child,) = family(running.process.pid)[1:]
    before = highest = pss_mib(child)

    def look() -> None:
        nonlocal highest
        highest = max(highest, pss_mib(child))

    started = time.monotonic()
    batch_id = about.start(suite_id, concurrency=MANY_WIDTH)
    starting.ended(batch_id, patience_s=180, meanwhile=look)
    seconds = time.monotonic() - started
    name = f"a worker's child (PSS), {MANY_CASES:,} cases"
    return [
        Figure(f"{name}: before", before, "MiB"),
        Figure(f"{name}: highest", highest, "MiB", MOST_PSS_MIB),
        Figure(f"{name}: highest, more than before", highest - before, "MiB", MOST_GROWTH_MIB),
        Figure(f"{name}: afterwards", pss_mib(child), "MiB"),
        Figure(f"{MANY_CASES:,} cases of {SHORT_MS} ms, {MANY_WIDTH} at once", seconds, "s"),
    ]


async def bare_loop(server: ModelServer, width: int) -> None:
    """Ask as often, as many at once, reading each stream to its end and nothing else."""
    numbers = iter(range(CASES))
    url = f"{server.base_url}/chat/completions"
    connector = aiohttp.TCPConnector(limit=width)

    async def ask_on(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            messages = [{"role": "user", "content": f"Say {number}."}]
            body = json.dumps({"model": "m", "stream": True, "messages": messages})
            async with session.post(url, data=body) as answer:
                await answer.read()

    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(ask_on(session) for _ in range(width)))


def forget(server: ModelServer, latency_ms: float = LATENCY_MS) -> None:
    server.reset()
    server.configure(latency_ms=latency_ms)


def span(server: ModelServer) -> float:
    """Return the seconds from the first request's arrival to the last one's answer."""
    calls = server.calls()
    assert calls.answered == CASES
    return max(calls.starts) - min(calls.starts) + LATENCY_MS / 1000
