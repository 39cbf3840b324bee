"""Batches over the API: started, read, cancelled, resumed, deleted. What they do is elsewhere."""

from typing import Any

import pytest

from access.actors import Actor
from batches import batches, suites
from batches.models import Batch, BatchStatus, Job, JobOutcome, JobStatus
from tests.clients import Api
from tests.factories import NOW, make_batch, make_case_draft, make_endpoint, make_suite


@pytest.fixture
def body(actor: Actor) -> dict[str, Any]:
    """The least that a batch needs."""
    return {
        "test_suite_id": str(make_suite(actor).pk),
        "model_id": str(make_endpoint(actor).pk),
    }


def _answer(batch: Batch, *outcomes: JobOutcome) -> None:
    """Give the batch's first jobs these outcomes, as the engine would, and end it."""
    jobs = list(Job.objects.filter(batch=batch))
    for job, outcome in zip(jobs, outcomes, strict=False):
        Job.objects.filter(pk=job.pk).update(
            status=JobStatus.DONE,
            outcome=outcome,
            finished_at=NOW,
            score=1 if outcome == JobOutcome.PASSED else 0,
            latency_ms=100,
        )
    counts = {outcome: outcomes.count(outcome) for outcome in JobOutcome}
    Batch.objects.filter(pk=batch.pk).update(
        done=len(outcomes),
        passed=counts[JobOutcome.PASSED],
        failed=counts[JobOutcome.FAILED],
        errors=counts[JobOutcome.ERROR],
        unscored=counts[JobOutcome.UNSCORED],
    )
    batch.refresh_from_db()
    whole = len(outcomes) == len(jobs)
    batches.finish(batch, BatchStatus.COMPLETED if whole else BatchStatus.CANCELLED, now=NOW)


def test_a_batch_is_started_with_what_it_needs(api: Api, body: dict[str, Any]) -> None:
    answer = api.create("batches", body)

    assert answer.status_code == 202
    shown = answer.json()
    assert shown["status"] == "pending"
    assert (shown["total"], shown["done"], shown["coverage"]) == (3, 0, None)
    assert (shown["concurrency"], shown["repeats"], shown["timeout_ms"]) == (10, 1, 60_000)
    assert (shown["test_run_id"], shown["scheduled_evaluation_run_id"]) == (shown["id"], None)
    assert (shown["suite_version"], len(shown["suite_hash"])) == (1, 64)
    assert Job.objects.filter(batch=shown["id"], status="pending").count() == 3


def test_a_description_makes_no_experiment(api: Api, body: dict[str, Any]) -> None:
    answer = api.create("batches", body | {"description": "nightly"})

    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["description"], shown["tracking_id"]) == ("nightly", "")
    assert api.read("batches?type=regular").json()["count"] == 1
    assert api.read("experiments").json()["count"] == 0


def test_the_address_of_older_clients_starts_the_same(api: Api, body: dict[str, Any]) -> None:
    config = body | {"repeats": 2, "concurrency": 5, "tags": ["old"], "parameters": {"seed": 1}}

    answer = api.create("batch-testing/run", {"config": config})

    assert answer.status_code == 202
    shown = answer.json()
    assert shown["test_run_id"] == shown["id"]
    assert (shown["total"], shown["repeats"], shown["concurrency"]) == (6, 2, 5)
    assert (shown["tags"], shown["parameters"]) == (["old"], {"seed": 1})
    assert api.read(f"batches/{shown['id']}").status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1001}, "concurrency"),
        ({"concurrency": "many"}, "concurrency"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 101}, "repeats"),
        ({"timeout_ms": 99}, "timeout_ms"),
        ({"timeout_ms": 600_001}, "timeout_ms"),
        ({"parameters": []}, "parameters"),
        ({"tags": "a"}, "tags"),
        ({"tags": ["x" * 101]}, "tags.0"),
        ({"name": "x" * 201}, "name"),
        ({"model_id": None}, "model_id"),
        ({"model_id": "nobody"}, "model_id"),
        ({"test_suite_id": "01900000-0000-7000-8000-000000000000"}, "test_suite_id"),
        ({"nonsense": True}, "nonsense"),
    ],
    ids=str,
)
def test_a_bad_batch_is_refused_by_its_field(
    change: dict[str, Any], field: str, api: Api, body: dict[str, Any]
) -> None:
    for path, given, prefix in (
        ("batches", body | change, ""),
        ("batch-testing/run", {"config": body | change}, "config."),
    ):
        answer = api.create(path, given)
        assert answer.status_code == 400
        (named,) = answer.json()["details"]
        assert named.removeprefix(prefix) == field
    assert not Batch.objects.exists()


def test_an_empty_suite_is_refused_with_what_to_do(api: Api, actor: Actor) -> None:
    body = {
        "test_suite_id": str(make_suite(actor, cases=0, name="Empty").pk),
        "model_id": str(make_endpoint(actor).pk),
    }

    answer = api.create("batches", body)

    assert answer.status_code == 400
    assert "'Empty' has no cases" in answer.json()["details"]["test_suite_id"][0]


def test_a_batch_keeps_the_version_it_was_made_from(
    api: Api, actor: Actor, body: dict[str, Any]
) -> None:
    shown = api.create("batches", body).json()
    suite = Batch.objects.get().suite
    suites.put(actor, suite, [make_case_draft(1, prompt="Edited"), make_case_draft(4)])

    again = api.read(f"batches/{shown['id']}").json()

    assert (again["suite_version"], again["suite_hash"]) == (1, shown["suite_hash"])
    prompts = Job.objects.values_list("case__prompt", flat=True)
    assert list(prompts) == ["Say 1.", "Say 2.", "Say 3."]


def test_the_figures_are_those_of_the_jobs(api: Api, actor: Actor) -> None:
    batch = make_batch(actor, suite=make_suite(actor, cases=4))
    _answer(batch, JobOutcome.PASSED, JobOutcome.PASSED, JobOutcome.FAILED, JobOutcome.ERROR)

    shown = api.read(f"batches/{batch.pk}").json()

    assert shown["status"] == "completed"
    assert (shown["rate_scored"], shown["rate_strict"]) == (2 / 3, 2 / 4)
    assert shown["coverage"] == 3 / 4
    assert shown["eta_seconds"] is None


def test_a_batch_is_cancelled_once(api: Api, actor: Actor) -> None:
    batch = make_batch(actor)

    first = api.create(f"batches/{batch.pk}/cancel")
    second = api.create(f"batches/{batch.pk}/cancel")

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["status"] == second.json()["status"] == "cancelled"
    assert first.json()["completed_at"] == second.json()["completed_at"] is not None
    assert set(Job.objects.values_list("status", flat=True)) == {"cancelled"}


def test_resuming_runs_what_is_missing_or_met_an_error(api: Api, actor: Actor) -> None:
    batch = make_batch(actor)
    _answer(batch, JobOutcome.PASSED, JobOutcome.ERROR)

    answer = api.create(f"batches/{batch.pk}/resume")

    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["status"], shown["completed_at"]) == ("pending", None)
    assert (shown["done"], shown["passed"], shown["errors"]) == (1, 1, 0)
    statuses = Job.objects.order_by("ordinal").values_list("status", flat=True)
    assert list(statuses) == ["done", "pending", "pending"]


@pytest.mark.parametrize("state", ["under way", "complete", "without its endpoint"])
def test_what_cannot_be_resumed_is_409(state: str, api: Api, actor: Actor) -> None:
    batch = make_batch(actor)
    if state == "complete":
        _answer(batch, *[JobOutcome.PASSED] * 3)
    if state == "without its endpoint":
        batches.cancel(batch, now=NOW)
        api.remove(f"models/{batch.endpoint_id}")

    answer = api.create(f"batches/{batch.pk}/resume")

    assert answer.status_code == 409
    assert len(answer.json()["message"]) > 20


def test_a_batch_under_way_is_not_deleted(api: Api, actor: Actor) -> None:
    batch = make_batch(actor)

    refused = api.remove(f"batches/{batch.pk}")
    api.create(f"batches/{batch.pk}/cancel")
    removed = api.remove(f"batches/{batch.pk}")

    assert (refused.status_code, removed.status_code) == (409, 204)
    assert not Job.objects.exists()


def test_a_batch_gets_another_name_and_other_tags(api: Api, actor: Actor) -> None:
    batch = make_batch(actor)

    shown = api.change(f"batches/{batch.pk}", {"name": "Named", "tags": ["a", "b"]}).json()
    refused = api.change(f"batches/{batch.pk}", {"nonsense": "completed"})

    assert (shown["name"], shown["tags"]) == ("Named", ["a", "b"])
    assert refused.status_code == 400


def test_its_state_is_not_written_from_outside(api: Api, actor: Actor) -> None:
    batch = make_batch(actor)

    answer = api.change(f"batches/{batch.pk}", {"status": "completed", "passed": 3, "total": 0})

    assert answer.status_code == 200
    batch.refresh_from_db()
    assert (batch.status, batch.passed, batch.total) == ("pending", 0, 3)


# --- Results ---------------------------------------------------------------------------------


@pytest.fixture
def judged(actor: Actor) -> Batch:
    drafts = [make_case_draft(number, tags=["odd"] if number % 2 else []) for number in (1, 2, 3)]
    batch = make_batch(actor, suite=make_suite(actor, cases=drafts))
    _answer(batch, JobOutcome.PASSED, JobOutcome.FAILED, JobOutcome.ERROR)
    return batch


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", ["case-1", "case-2", "case-3"]),
        ("?passed=true", ["case-1"]),
        ("?passed=false", ["case-2", "case-3"]),
        ("?outcome=failed", ["case-2"]),
        ("?status=done", ["case-1", "case-2", "case-3"]),
        ("?status=pending", []),
        ("?tag=odd", ["case-1", "case-3"]),
        ("?tag=od", []),
        ("?tag=odd&passed=true", ["case-1"]),
        ("?ordering=-ordinal", ["case-3", "case-2", "case-1"]),
    ],
)
def test_results_are_narrowed(query: str, keys: list[str], api: Api, judged: Batch) -> None:
    page = api.read(f"batches/{judged.pk}/results{query}").json()

    assert [row["case_key"] for row in page["results"]] == keys


@pytest.mark.parametrize(("query", "count"), [("", 14), ("&passed=false", 0), ("&tag=odd", 6)])
def test_results_lead_on_by_cursor_and_miss_nothing(
    query: str, count: int, api: Api, actor: Actor
) -> None:
    drafts = [make_case_draft(n, tags=["odd"] * (n % 2)) for n in range(7)]
    batch = make_batch(actor, suite=make_suite(actor, cases=drafts), repeats=2)
    seen, path = [], f"batches/{batch.pk}/results?limit=2{query}"

    while path:
        body = api.read(path).json()
        assert body["count"] == count
        seen += [(row["case_key"], row["repeat"]) for row in body["results"]]
        path = (body["next"] or "").partition("/api/")[2]

    assert len(seen) == len(set(seen)) == count
    assert seen == sorted(seen)


@pytest.mark.parametrize("query", ["cursor=x", "cursor=1", "cursor=1-1&ordering=score"])
def test_a_cursor_that_leads_nowhere_is_refused(query: str, api: Api, judged: Batch) -> None:
    answer = api.read(f"batches/{judged.pk}/results?{query}")

    assert answer.status_code == 400
    assert "cursor" in answer.json()["details"]


def test_a_result_names_its_batch_and_its_case(api: Api, judged: Batch) -> None:
    row = api.read(f"batches/{judged.pk}/results").json()["results"][0]

    assert row["batch_id"] == str(judged.pk)
    assert (row["status"], row["outcome"], row["score"]) == ("done", "passed", 1.0)
    assert row["case_hash"]
    assert row["cost"] is None


@pytest.mark.parametrize("query", ["status=nope", "outcome=nope", "tag=%00"])
def test_a_filter_that_makes_no_sense_is_named(query: str, api: Api, judged: Batch) -> None:
    answer = api.read(f"batches/{judged.pk}/results?{query}")

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [query.partition("=")[0]]
