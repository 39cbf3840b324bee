"""Batches side by side over the API, and experiments with their verdicts."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.actors import Actor
from batches import batches
from batches.models import Batch, Job
from tests.clients import Api
from tests.evalsched.compared_runs import bring_results
from tests.factories import NOW, make_batch, make_case_draft, make_endpoint, make_suite

pytestmark = pytest.mark.django_db


@pytest.fixture
def three(actor: Actor) -> list[Batch]:
    """A baseline of 12 cases, one that fails 2 and 5, one that lacks the last case."""
    suite, endpoint = make_suite(actor, cases=12), make_endpoint(actor)
    made = [make_batch(actor, suite=suite, endpoint=endpoint) for _ in range(3)]
    for batch, wrong in zip(made, ((), (2, 5), ()), strict=True):
        bring_results(batch.pk, NOW, wrong=wrong)
    Job.objects.filter(batch=made[2], ordinal=11).delete()
    Job.objects.filter(batch=made[1], ordinal=1).update(output="Not that.")
    return made


def compared(api: Api, three: list[Batch], more: str = "") -> Any:
    ids = ",".join(str(batch.pk) for batch in three)
    answer = api.read(f"batches/compare?ids={ids}{more}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_cases_stand_side_by_side_in_the_order_of_the_ids(api: Api, three: list[Batch]) -> None:
    page = compared(api, three, "&limit=2&offset=1")

    assert (page["count"], page["previous"] is None, page["next"] is None) == (12, False, False)
    second, third = page["results"]
    assert (second["case_key"], second["different"], second["loss"]) == ("case-2", True, 1.0)
    assert [side["batch_id"] for side in second["sides"]] == [str(one.pk) for one in three]
    assert [side["score"] for side in second["sides"]] == [1.0, 0.0, 1.0]
    assert [side["output"] for side in second["sides"]] == ["", "Not that.", ""]
    assert (third["different"], third["loss"]) == (False, 0.0)


def test_only_what_differs_and_the_worst_first(api: Api, three: list[Batch]) -> None:
    page = compared(api, three, "&only_different=true&ordering=-loss")

    keys = [row["case_key"] for row in page["results"]]
    assert keys == ["case-2", "case-5", "case-12"]
    assert page["results"][2]["sides"][2] is None


def test_an_edited_case_is_two(actor: Actor, api: Api) -> None:
    endpoint = make_endpoint(actor)
    old, new = (
        make_batch(
            actor, suite=make_suite(actor, cases=[make_case_draft(prompt=text)]), endpoint=endpoint
        )
        for text in ("Say it.", "Say it well.")
    )

    rows = compared(api, [old, new])["results"]

    assert [[side is None for side in row["sides"]] for row in rows] == [
        [False, True],
        [True, False],
    ]
    assert [row["loss"] for row in rows] == [None, None]


@pytest.mark.parametrize("ids", ["", "x", "{0}", "{0},{0}"])
def test_what_cannot_be_compared_is_refused(api: Api, three: list[Batch], ids: str) -> None:
    answer = api.read(f"batches/compare?ids={ids.format(three[0].pk)}")

    assert answer.status_code == 400
    assert "ids" in answer.json()["details"]


def test_an_experiment_has_a_verdict_for_each_batch_against_the_first(
    actor: Actor, api: Api, three: list[Batch]
) -> None:
    Batch.objects.filter(pk__in=[batch.pk for batch in three]).update(tracking_id="mine")
    # Trying out parameters is what experiments are for.
    Batch.objects.filter(pk=three[1].pk).update(parameters={"temperature": 1})

    comparison = api.read("experiments/mine").json()["comparison"]

    worse, same = comparison["candidates"]
    assert (comparison["baseline_batch_id"], comparison["left_out"]) == (str(three[0].pk), 0)
    assert worse["candidate"]["batch_id"] == str(three[1].pk)
    assert (worse["not_comparable"], worse["pairs"]) == ([], 12)
    assert worse["metrics"]["pass_rate"]["estimate"] == pytest.approx(-2 / 12)
    assert same["unpaired"]["reasons"] == {"removed": 1}
    assert not same["regression_detected"]


def test_an_experiment_is_not_compared_under_other_judges_or_before_its_end(
    actor: Actor, api: Api, three: list[Batch]
) -> None:
    Batch.objects.filter(pk__in=[batch.pk for batch in three]).update(tracking_id="mine")
    names = ("type", "provider", "model_id", "model_name", "model")
    judge: dict[str, Any] = dict.fromkeys(names, "another") | {"parameters": {}}
    Batch.objects.filter(pk=three[1].pk).update(graders=[judge])
    batches.resume(_with_missing(three[2]), now=NOW)

    judged, open_ = api.read("experiments/mine").json()["comparison"]["candidates"]

    assert judged["not_comparable"][0].startswith("The judges changed since the baseline.")
    assert open_["sentence"].startswith("One of the two is under way.")
    assert open_["metrics"] == {}


def test_a_batch_that_is_too_large_beside_the_others_is_left_out_with_a_sentence(
    api: Api, three: list[Batch]
) -> None:
    Batch.objects.filter(pk__in=[batch.pk for batch in three]).update(tracking_id="mine")
    Batch.objects.filter(pk=three[1].pk).update(total=99_989, status="cancelled")

    large, small = api.read("experiments/mine").json()["comparison"]["candidates"]

    assert "more than 100,000 calls together" in large["sentence"]
    assert (large["metrics"], large["candidate"]["batch_id"]) == ({}, str(three[1].pk))
    assert small["pairs"] == 11


def test_a_baseline_that_is_too_large_is_not_read(api: Api, three: list[Batch]) -> None:
    Batch.objects.filter(pk__in=[batch.pk for batch in three]).update(tracking_id="mine")
    Batch.objects.filter(pk=three[0].pk).update(total=100_000, status="cancelled")

    with CaptureQueriesContext(connection) as asked:
        found = api.read("experiments/mine").json()["comparison"]["candidates"]

    assert all("more than 100,000 calls together" in one["sentence"] for one in found)
    assert not [query for query in asked if "batches_job" in query["sql"]]


def test_one_batch_has_nothing_to_be_compared_with(actor: Actor, api: Api) -> None:
    batch = make_batch(actor)
    Batch.objects.filter(pk=batch.pk).update(tracking_id="alone")

    assert api.read("experiments/alone").json()["comparison"] is None


def _with_missing(batch: Batch) -> Batch:
    Job.objects.filter(batch=batch, ordinal=0).update(
        status="not_run", outcome=None, finished_at=None
    )
    batch.refresh_from_db()
    Batch.objects.filter(pk=batch.pk).update(
        done=batch.done - 1, passed=batch.passed - 1, status="stopped_circuit"
    )
    batch.refresh_from_db()
    return batch
