"""What a process writes: one JSON object a line, its request's id in each, and no secrets."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
import structlog

from tests.processes_at_work import ROOT
from tests.servers import child_environment

KEY = "es_0123456789_averysecretkey"
# Requests that fail in several ways, and one that finds a bug; then a line outside any request.
SCRIPT = """
import sys, django, structlog
django.setup()
from django.test import Client
client = Client(raise_request_exception=False, headers={"Authorization": "Bearer " + sys.argv[1]})
client.get("/api/me", headers={"X-Request-ID": "first"})
client.post("/api/models", "{nonsense", "application/json", headers={"X-Request-ID": "second"})
client.get("/nowhere", headers={"X-Request-ID": "third"})
import access.views
access.views.__dict__.update({name: None for name in ("projects", "keys", "audit")})
import config.health
config.health.queues.reachable = None
client.get("/readyz", headers={"X-Request-ID": "fourth"})
structlog.get_logger("after").info("done", number=7)
"""


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What such a process has written to its error stream, line by line."""
    env = child_environment("none") | {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "ALLOWED_HOSTS": "testserver",
        "EVALSCHED_LOG_LEVEL": "DEBUG",
    }
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, KEY],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stderr.splitlines()]


def of(lines: list[dict[str, Any]], request_id: str) -> list[dict[str, Any]]:
    return [line for line in lines if line.get("request_id") == request_id]


def test_every_line_says_when_what_and_how_bad(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= set(line)
    assert lines[-1]["event"] == "done"
    assert lines[-1]["number"] == 7


def test_every_line_of_a_request_carries_its_id(lines: list[dict[str, Any]]) -> None:
    for identifier in ("first", "second", "third", "fourth"):
        assert {"request_started"} <= {line["event"] for line in of(lines, identifier)}
    assert "request_id" not in lines[-1], "the id ends with the request"
    first = of(lines, "first")
    assert "database unavailable" in {line["event"] for line in first}


def test_a_bug_is_logged_in_one_line_with_its_traceback(lines: list[dict[str, Any]]) -> None:
    failed = [line for line in of(lines, "fourth") if "Traceback" in str(line.get("exception"))]

    assert failed
    assert failed[0]["level"] == "error"
    assert "TypeError" in failed[0]["exception"]


def test_no_line_holds_the_callers_key(lines: list[dict[str, Any]]) -> None:
    assert "averysecretkey" not in json.dumps(lines)


def test_the_standard_librarys_lines_come_in_the_same_form(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (handler,) = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter)
    ]
    logging.getLogger("somebody.else").warning("%s of %s", 3, "ü\n")

    line = json.loads(handler.format(caplog.records[-1]))
    assert line["event"] == "3 of ü\n"
    assert (line["level"], line["logger"]) == ("warning", "somebody.else")
    assert line["timestamp"].endswith("Z")
