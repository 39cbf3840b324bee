"""A batch through a real worker, beside a bare loop of the same width against the same server."""

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from django.test import Client

from access import clock
from batches.models import Batch, BatchStatus
from benchmarks.figures import Figure, cpu_ms, family, pss_mib
from config import places, processes
from tests.factories import make_actor, make_endpoint, make_key, make_suite
from tests.processes_at_work import Running, until, worker
from tests.servers_http import ModelServer

CASES, LATENCY_MS = 1_000, 200
WIDTHS = (100, 20)


@dataclass(frozen=True)
class Setting:
    """What the batches run on: a client of the API and the ids it needs."""

    client: Client
    suite_id: str
    model_id: str


def measure(data_dir: Path) -> list[Figure]:
    figures: list[Figure] = []
    with (
        ModelServer(latency_ms=LATENCY_MS) as server,
        tempfile.TemporaryDirectory() as logs,
        worker(Path(logs), queues="batches", concurrency=1) as running,
    ):
        run(setting(server, cases=20), concurrency=10)  # a first one, so that all is imported
        about = setting(server, cases=CASES)
        for width in WIDTHS:
            figures += through_a_worker(server, about, running, data_dir, width)
        child = family(running.process.pid)[-1]
        figures.append(Figure("memory of a worker's child (PSS)", pss_mib(child), "MiB"))
    return figures


def setting(server: ModelServer, *, cases: int) -> Setting:
    actor = make_actor()
    endpoint = make_endpoint(actor, provider="openai", base_url=server.base_url, model="m")
    _, key = make_key(actor)
    client = Client(headers={"Authorization": f"Bearer {key}"})
    return Setting(client, str(make_suite(actor, cases=cases).pk), str(endpoint.pk))


def through_a_worker(
    server: ModelServer, about: Setting, running: Running, data_dir: Path, width: int
) -> list[Figure]:
    """Measure the floor and our way in turn, each from the first request in to the last out."""
    name = f"{CASES} cases of {LATENCY_MS} ms, {width} at once"
    forget(server)
    started_cpu, started = time.process_time(), time.monotonic()
    asyncio.run(bare_loop(server, width))
    floor_wall, floor_cpu = time.monotonic() - started, time.process_time() - started_cpu
    floor = span(server)

    forget(server)
    parts = {
        "worker": family(running.process.pid),
        "database": of_server(data_dir, "postgres", "postgres"),
        "Redis": of_server(data_dir, "redis", "valkey-server"),
    }
    before = {part: cpu_ms(pids) for part, pids in parts.items()}
    seconds = run(about, concurrency=width)
    # Backends of connections that were opened meanwhile count as well.
    parts["database"] = of_server(data_dir, "postgres", "postgres")
    ours = span(server)
    used = {part: (cpu_ms(pids) - before[part]) / CASES for part, pids in parts.items()}
    return [
        Figure(f"{name}: bare loop, first request in to last answer out", floor, "s"),
        Figure(f"{name}: bare loop, wall", floor_wall, "s"),
        Figure(f"{name}: bare loop, CPU a call", floor_cpu * 1000 / CASES, "ms"),
        Figure(f"{name}: worker, first request in to last answer out", ours, "s"),
        Figure(f"{name}: ... as a multiple of the bare loop", ours / floor, "x"),
        Figure(f"{name}: POST to completed", seconds, "s"),
        Figure(f"{name}: ... as a multiple of the bare loop's wall", seconds / floor_wall, "x"),
        *(Figure(f"{name}: CPU a case, {part}", value, "ms") for part, value in used.items()),
    ]


def run(about: Setting, *, concurrency: int) -> float:
    """Start a batch over the API and return the seconds until it is completed."""
    started = clock.database_now()
    body = {
        "test_suite_id": about.suite_id,
        "model_id": about.model_id,
        "concurrency": concurrency,
    }
    answer = about.client.post("/api/batches", body, "application/json")
    assert answer.status_code == 202, answer.content
    batch = Batch.objects.filter(pk=answer.json()["id"])
    until(lambda: batch.filter(completed_at__isnull=False).exists(), seconds=120)
    found = batch.get()
    assert found.status == BatchStatus.COMPLETED, found.error_message
    assert found.passed == found.total
    assert found.completed_at is not None
    return (found.completed_at - started).total_seconds()


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


def forget(server: ModelServer) -> None:
    server.reset()
    server.configure(latency_ms=LATENCY_MS)


def span(server: ModelServer) -> float:
    """Return the seconds from the first request's arrival to the last one's answer."""
    calls = server.calls()
    assert calls.answered == CASES
    return max(calls.starts) - min(calls.starts) + LATENCY_MS / 1000


def of_server(data_dir: Path, directory: str, program: str) -> list[int]:
    return processes.working_in(places.noted(data_dir) / directory, program)
