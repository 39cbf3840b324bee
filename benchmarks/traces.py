"""Spans over OTLP into one web process, beside the plain decoding and writing of as many."""

import http.client
import secrets
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from django.db import connection, transaction
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from access import clock
from alerts import otlp
from alerts.models import Trace
from alerts.otlp import PROTOBUF
from alerts.traces import Span, fit
from benchmarks.figures import Figure, cpu_ms, family
from tests.factories import make_actor, make_key
from tests.processes_at_work import web

# What exporters send: a full batch of theirs, and a large one.
BATCHES = (512, 4096)
SPANS = 24_576
_TEXT = "What is the capital of France, and why? " * 10
_ATTRIBUTES: dict[str, str | int | float] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.response.id": "chatcmpl-123",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
    "gen_ai.response.time_to_first_chunk": 0.02,
    "gen_ai.request.temperature": 0.2,
    "gen_ai.input.messages": _TEXT,
    "gen_ai.output.messages": _TEXT,
    "server.address": "api.openai.com",
}


def measure() -> list[Figure]:
    actor = make_actor()
    _, key = make_key(actor, scopes=["ingest"])
    now = clock.database_now()
    figures = [floor(now)]
    with (
        tempfile.TemporaryDirectory() as logs,
        web(Path(logs), EVALSCHED_RATE_LIMIT_INGEST="1000000", ALLOWED_HOSTS="127.0.0.1") as (
            port,
            running,
        ),
    ):
        # The first one loads the price list.
        send(port, key, [request(8, now)])
        for size in BATCHES:
            bodies = [request(size, now) for _ in range(SPANS // size)]
            figures += ingest(port, key, bodies, size, running.process.pid)
    assert Trace.objects.filter(project=actor.project).count() == len(BATCHES) * SPANS + 8
    return figures


def floor(now: datetime) -> Figure:
    """Measure decoding, COPY straight into the table, and the commit: nothing can do with less."""
    body = request(BATCHES[-1], now)
    actor = make_actor()
    # The first one loads the price list.
    otlp.decode(request(8, now), PROTOBUF, now=now)

    def work() -> None:
        spans = otlp.decode(body, PROTOBUF, now=now).spans
        copy(str(actor.project.pk), str(actor.user.pk), spans, now)

    work_ms = server_cpu_ms()
    here = time.process_time()
    work()
    spent = (time.process_time() - here) * 1e6 + (server_cpu_ms() - work_ms) * 1e3
    return Figure("the floor: decode, COPY, commit", spent / BATCHES[-1], "us CPU/span")


def copy(project: str, user: str, spans: Sequence[Span], now: datetime) -> None:
    columns = ", ".join(("project_id", "user_id", "created_at", "source", *Span._fields))
    statement = f"COPY alerts_trace ({columns}) FROM STDIN"
    with transaction.atomic(), connection.cursor() as cursor, cursor.copy(statement) as rows:
        for span in spans:
            rows.write_row((project, user, now, "ingest", *fit(span)))


def ingest(port: int, key: str, bodies: Sequence[bytes], size: int, master: int) -> list[Figure]:
    pids = family(master)
    before, started = cpu_ms(pids) + postgres_ms(), time.perf_counter()
    send(port, key, bodies)
    seconds = time.perf_counter() - started
    spent = cpu_ms(pids) + postgres_ms() - before
    sent = len(bodies) * size
    return [
        Figure(
            f"durable spans into one web process, {size} a request",
            sent / seconds,
            "spans/s",
            3_000,
            least=True,
        ),
        Figure("... CPU of web and PostgreSQL", spent * 1000 / sent, "us/span", 200),
    ]


def send(port: int, key: str, bodies: Sequence[bytes]) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for body in bodies:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": PROTOBUF}
        client.request("POST", "/v1/traces", body, headers)
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    client.close()


def request(count: int, now: datetime) -> bytes:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    end = int((now - timedelta(seconds=5)).timestamp() * 1e6) * 1000
    for number in range(count):
        span = scope.spans.add(name="chat gpt-4o")
        span.trace_id, span.span_id = secrets.token_bytes(16), secrets.token_bytes(8)
        span.end_time_unix_nano = end + number
        span.start_time_unix_nano = end - 500_000_000
        for name, value in _ATTRIBUTES.items():
            span.attributes.append(KeyValue(key=name, value=_value(value)))
    return message.SerializeToString()


def _value(value: str | float) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(double_value=value)


def server_cpu_ms() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cpu_ms([cursor.fetchone()[0]])


def postgres_ms() -> float:
    """Return what the server's processes for the web process have used."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'evalsched-web'"
            " AND pid <> pg_backend_pid() AND datname = current_database()"
        )
        return cpu_ms(row[0] for row in cursor.fetchall() if psutil.pid_exists(row[0]))
