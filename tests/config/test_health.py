"""Alive and ready: what is answered while a part is away."""

import json
import subprocess
import sys
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from access import heartbeats
from evalsched import pulse
from tests.factories import NOW
from tests.processes_at_work import ROOT
from tests.servers import child_environment

NOWHERE = "postgres://nobody@127.0.0.1:1/none"
SCHEDULER = "/api/cron/scheduled-evaluations/health"
# Prints status, Retry-After and body of each path's answer, by a process that reaches no database.
ASK = """
import json, sys, django
django.setup()
from django.test import Client
client = Client(headers={"Authorization": "Bearer es_0123456789_abcdef"})
for path in sys.argv[1:]:
    answer = client.get(path, headers={"X-Request-ID": "asked-1"})
    retry = answer.headers.get("Retry-After")
    print(json.dumps([answer.status_code, retry, answer.headers["X-Request-ID"], answer.json()]))
"""


def test_alive_asks_nobody() -> None:
    answer = Client().get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.django_db
def test_ready_when_all_is_there() -> None:
    answer = Client().get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "database": "ok",
        "broker": "ok",
        "migrations": "ok",
    }


@pytest.mark.django_db
def test_not_ready_without_the_broker(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"

    answer = Client().get("/readyz")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json()["broker"] == "unreachable"
    assert answer.json()["database"] == "ok"


@pytest.mark.django_db
def test_not_ready_before_the_migrations() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'evalsched'")

    answer = Client().get("/readyz")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json()["migrations"] == "1 not applied: run manage.py migrate"


def test_without_the_database_every_path_says_come_back() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASK, "/healthz", "/readyz", "/api/me", "/api/models", SCHEDULER],
        cwd=ROOT,
        env=child_environment("none") | {"DATABASE_URL": NOWHERE, "ALLOWED_HOSTS": "testserver"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    answers: list[list[Any]] = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(answers) == 5, ended.stderr
    alive, ready, me, models, scheduler = answers

    assert alive[:2] == [200, None]
    assert ready[:2] == [503, "5"]
    assert ready[3] == {"status": "not ready", "database": "unreachable", "broker": "ok"}
    for status, retry, identifier, body in (me, models):
        assert (status, retry, identifier) == (503, "5", "asked-1")
        assert body["error"] == "unavailable"
        assert (body["status_code"], body["correlation_id"]) == (503, "asked-1")
    assert scheduler[:2] == [503, "5"]
    assert "Traceback" not in ended.stdout


@pytest.mark.django_db
def test_a_scheduler_that_does_not_tick_is_told() -> None:
    never = Client().get(SCHEDULER)
    heartbeats.note(pulse.TICK, now=NOW)
    long_ago = Client().get(SCHEDULER)

    assert (long_ago.status_code, long_ago["Retry-After"]) == (503, "5")
    assert long_ago.json()["tick_age_seconds"] > 3600
    assert never.json()["tick_age_seconds"] is None
