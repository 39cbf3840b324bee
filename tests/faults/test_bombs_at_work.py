"""Answers and assertions made to hang a scorer, in real workers: the other cases do not notice."""

import json
from pathlib import Path
from typing import Any

import pytest

from access import clock
from batches import batches
from batches.models import Batch, BatchStatus, Job
from tests.batches.engine_at_work import counters_and_aggregates
from tests.factories import make_actor, make_batch, make_case_draft, make_endpoint, make_suite
from tests.faults.long_batches import wait_for_the_end
from tests.processes_at_work import ticking, worker
from tests.servers_http import ModelServer

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]
LEVELS = 30


def doubling(keyword: str) -> dict[str, Any]:
    """Return a schema whose every level asks for the one below twice."""
    below = {
        f"a{level}": {keyword: [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(LEVELS)
    }
    return {"$defs": {**below, f"a{LEVELS}": {"type": "number"}}, "$ref": "#/$defs/a0"}


def schema(value: object, type_: str = "is-json") -> list[dict[str, Any]]:
    return [{"type": type_, "value": value}]


# What is asserted, what is answered, and the outcome.
BOMBS: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "backtracking": ([{"type": "regex", "value": "^(a+)+$"}], "a" * 40 + "!", "failed"),
    "repetitions": (
        [{"type": "regex", "value": "(a|b|ab){0,900}$"}], "ab" * 50_000, "unscored",
    ),
    "all of 50 regexes": (
        [{"type": "regex", "value": f"(a?){{400}}a{{400}}{n}$"} for n in range(50)],
        "a" * 90_000, "failed",
    ),
    "doubling oneOf": (schema(doubling("oneOf")), '"x"', "unscored"),
    "50 doubling": (schema(doubling("anyOf")) * 50, '"x"', "unscored"),
    "unique": (
        schema({"uniqueItems": True}), json.dumps([{"a": n} for n in range(5_000)]), "passed",
    ),
    "pattern in a schema": (
        schema({"pattern": "^(a+)+$"}), json.dumps("a" * 40 + "!"), "failed",
    ),
    "nested": (schema({}), "[" * 100_000, "failed"),
    "nested, to be found": (schema({}, "contains-json"), "[" * 100_000, "failed"),
    "opened": ([{"type": "contains-json"}] * 50, "[1," * 300_000, "unscored"),
    "exponent": ([{"type": "numeric", "value": 1}], "1e999999", "failed"),
    "exponent in JSON": (schema({}), "1e999999", "failed"),
    "digits": ([{"type": "numeric", "value": 1}], "9" * 1_000_000, "failed"),
    "digits in JSON": (schema({}), "9" * 1_000_000, "failed"),
    "bleu": ([{"type": "bleu", "value": "the cat"}], "the cat " * 130_000, "unscored"),
    "rouge": ([{"type": "rouge-n", "value": "the cat", "n": 9}], "the cat " * 130_000, "unscored"),
    "levenshtein": ([{"type": "levenshtein", "value": "ab" * 5_000}], "ba" * 500_000, "failed"),
}  # fmt: skip


def make_bombed(server: ModelServer) -> Batch:
    """Make a batch in which every other case is one of the bombs."""
    answers, drafts = {}, []
    for number, (assertions, answer, _) in enumerate(BOMBS.values()):
        prompt = f"Explode {number}."
        answers[prompt] = answer
        drafts += [
            make_case_draft(number, key=f"bomb-{number}", prompt=prompt, assertions=assertions),
            make_case_draft(number),
        ]
    server.configure(latency_ms=50, answers=answers, chunks=1)
    actor = make_actor()
    return make_batch(
        actor,
        suite=make_suite(actor, cases=drafts),
        endpoint=make_endpoint(actor, provider="openai", base_url=server.base_url, model="m"),
        now=clock.database_now(),
        concurrency=10,
    )


def test_bombs_end_as_they_should_and_hold_nobody_up(server: ModelServer, tmp_path: Path) -> None:
    """A loop that stood still would lose its short leases, and with them its jobs."""
    batch = make_bombed(server)
    batches.wake(batch, clock.database_now())

    with worker(tmp_path, settings={"EVALSCHED_LEASE_SECONDS": "3"}) as running, ticking():
        wait_for_the_end(batch)
        assert running.process.poll() is None, running.said()

    batch.refresh_from_db()
    jobs = {job.case_key: job for job in Job.objects.filter(batch=batch)}
    ends = {name: jobs[f"bomb-{n}"].outcome for n, name in enumerate(BOMBS)}
    whys = {key: job.error_message for key, job in jobs.items() if job.error_message}
    assert not whys, running.said()
    assert ends == {name: outcome for name, (_, _, outcome) in BOMBS.items()}
    assert {job.outcome for key, job in jobs.items() if key.startswith("case-")} == {"passed"}
    # What was claimed ahead at a slice's end is given back, which loses no worker and no call.
    assert {(job.lost_workers, job.attempts) for job in jobs.values()} == {(0, 1)}
    assert batch.status == BatchStatus.COMPLETED
    counted, found = counters_and_aggregates(batch)
    assert counted == found
    for job in jobs.values():
        if job.outcome == "unscored":
            assert any(each["passed"] is None and each["reason"] for each in job.assertions)
            assert job.score is None
