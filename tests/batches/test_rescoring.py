"""Old answers under new assertions: scored anew in a batch beside the old one, without a call."""

from typing import Any

import pytest

from access.actors import Actor
from access.errors import Conflict
from batches import batches, claims, rescoring, suites
from batches.models import Batch, BatchStatus, Job
from tests.batches.engine_at_work import counters_and_aggregates
from tests.clients import Api
from tests.evalsched.compared_runs import bring_results
from tests.factories import NOW, make_batch, make_case_draft, make_suite

pytestmark = pytest.mark.django_db


@pytest.fixture
def batch(actor: Actor) -> Batch:
    """Three cases twice, each answered "Done."; the third met a broken endpoint."""
    made = make_batch(actor, suite=make_suite(actor, cases=3), repeats=2)
    bring_results(made.pk, NOW, broken={3})
    Job.objects.filter(batch=made, ordinal__lt=2).update(output="Done.", cost=1)
    Batch.objects.filter(pk=made.pk).update(total_cost=4)
    made.refresh_from_db()
    return made


def change(actor: Actor, batch: Batch, number: int, **fields: Any) -> None:
    suites.put(actor, batch.suite, [make_case_draft(number, **fields)])


def test_answers_are_scored_by_the_suite_as_it_is_now(actor: Actor, batch: Batch) -> None:
    change(actor, batch, 1, assertions=[{"type": "contains", "value": "Done"}], weight=3)
    change(actor, batch, 2, assertions=[{"type": "contains", "value": "Never"}])
    change(actor, batch, 4)
    before = list(Job.objects.filter(batch=batch).values())

    made = rescoring.rescore(actor, batch, now=NOW)

    assert (made.rescored_from, made.status) == (batch, BatchStatus.COMPLETED)
    assert (made.total, made.passed, made.failed, made.errors) == (6, 2, 2, 2)
    assert made.score_sum / made.weight_sum == pytest.approx(6 / 8)
    jobs = list(Job.objects.filter(batch=made).order_by("ordinal", "repeat"))
    assert [job.outcome for job in jobs] == ["passed"] * 2 + ["failed"] * 2 + ["error"] * 2
    assert jobs[2].assertions[0]["reason"].startswith('Expected contains "Never"')
    assert [job.output for job in jobs[:4]] == ["Done."] * 4
    assert jobs[4].error_message == "no connection"
    current = {case.key: case for case in batch.suite.cases.filter(removed_in=None)}
    assert {(job.case_id, job.case_hash) for job in jobs} == {
        (current[job.case_key].pk, current[job.case_key].content_hash) for job in jobs
    }
    counters, aggregates = counters_and_aggregates(made)
    assert counters == aggregates
    assert list(Job.objects.filter(batch=batch).values()) == before


def test_a_question_that_changed_leaves_everything_as_it_is(actor: Actor, batch: Batch) -> None:
    change(actor, batch, 2, prompt="Say it otherwise.")

    with pytest.raises(Conflict, match="changed or removed since: case-2"):
        rescoring.rescore(actor, batch, now=NOW)

    assert Batch.objects.count() == 1
    assert Job.objects.count() == 6


def test_assertions_that_ask_another_model_are_refused(actor: Actor, batch: Batch) -> None:
    change(actor, batch, 1, assertions=[{"type": "not-llm-rubric", "value": "Rude."}])

    with pytest.raises(Conflict, match="llm-rubric assertions, which ask another model"):
        rescoring.rescore(actor, batch, now=NOW)


def test_a_batch_under_way_is_refused(actor: Actor) -> None:
    with pytest.raises(Conflict, match="under way"):
        rescoring.rescore(actor, make_batch(actor), now=NOW)


def test_a_batch_whose_last_calls_are_in_flight_is_refused(actor: Actor) -> None:
    stopped = make_batch(actor)
    claimed = claims.exchange(stopped.pk, [], want=1, now=NOW).claims
    batches.cancel(stopped, now=NOW)

    with pytest.raises(Conflict, match="in flight"):
        rescoring.rescore(actor, stopped, now=NOW)

    claims.give_back(stopped.pk, claimed, now=NOW)
    assert rescoring.rescore(actor, stopped, now=NOW).done == 0


def test_what_was_not_run_stays_not_run(actor: Actor) -> None:
    stopped = make_batch(actor)
    batches.cancel(stopped, now=NOW)

    made = rescoring.rescore(actor, stopped, now=NOW)

    assert (made.status, made.done) == (BatchStatus.CANCELLED, 0)
    assert set(Job.objects.filter(batch=made).values_list("status", flat=True)) == {"cancelled"}


def test_both_sides_rescored_are_compared_under_the_new_assertions(
    actor: Actor, batch: Batch, api: Api
) -> None:
    other = make_batch(actor, suite=batch.suite, endpoint=batch.endpoint, repeats=2)
    bring_results(other.pk, NOW, broken={3})
    change(actor, batch, 1, assertions=[{"type": "contains", "value": "Done"}])

    ids = [api.create(f"batches/{one.pk}/rescore").json()["id"] for one in (batch, other)]
    page = api.read(f"batches/compare?ids={','.join(ids)}&only_different=true").json()

    assert [row["loss"] for row in page["results"] if row["case_key"] == "case-1"] == [1.0]
    shown = api.read(f"batches/{ids[0]}").json()
    assert shown["rescored_from_id"] == str(batch.pk)
