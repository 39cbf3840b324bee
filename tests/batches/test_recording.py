"""Jobs of batches as traces, which alert rules can watch."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from access.actors import Actor
from alerts import evaluations, partitions, traces
from alerts.models import DirtyMinute, Trace
from alerts.rule_models import RuleState
from batches.claims import exchange
from batches.models import Batch, Job, JobOutcome
from batches.results import Claim, Result
from tests.factories import NOW, make_batch, make_endpoint, make_rule, make_suite

pytestmark = pytest.mark.django_db


@pytest.fixture
def batch(actor: Actor) -> Batch:
    partitions.make(traces.TABLE, {NOW.date()})
    endpoint = make_endpoint(actor, model="demo-1")
    return make_batch(actor, suite=make_suite(actor, cases=3), endpoint=endpoint)


def _claims(batch: Batch) -> list[Claim]:
    return exchange(batch.pk, [], want=3, now=NOW).claims


def _result(claim: Claim, **fields: Any) -> Result:
    wanted: dict[str, Any] = {
        "outcome": JobOutcome.PASSED,
        "attempts": 1,
        "wall_ms": 50.0,
        "latency_ms": 40.0,
    }
    return Result(claim, **(wanted | fields))


def test_each_result_is_a_span_of_its_batch(batch: Batch) -> None:
    answered, timed_out, refused = _claims(batch)
    good = _result(
        answered,
        ttft_ms=5.0,
        input_tokens=10,
        output_tokens=2,
        cost=Decimal("0.001"),
        score=1.0,
    )
    late = _result(timed_out, latency_ms=None, error_class="timeout", outcome=JobOutcome.FAILED)
    declined = _result(refused, error_class="refused", outcome=JobOutcome.FAILED)

    exchange(batch.pk, [good, late, declined], want=0, held=3, now=NOW)

    first, second, third = Trace.objects.filter(project_id=batch.project_id).order_by("id")
    assert {one.trace_id for one in (first, second, third)} == {batch.pk.hex}
    assert (first.source, first.user_id, first.model) == ("evaluation", batch.user_id, "demo-1")
    assert (first.latency_ms, first.ttft_ms, first.total_tokens) == (40, 5, 12)
    assert (first.cost, first.status) == (Decimal("0.001"), "success")
    assert (first.started_at, first.ended_at) == (NOW - timedelta(milliseconds=40), NOW)
    assert first.span_name == Job.objects.get(pk=answered.job_id).case_key
    assert first.attributes["outcome"] == "passed"
    assert (second.status, second.error_type, second.latency_ms) == ("error", "timeout", 50)
    assert (third.status, third.error_type) == ("success", "")
    assert DirtyMinute.objects.filter(project_id=batch.project_id, minute=NOW).exists()


def test_a_result_that_is_not_taken_is_no_span(batch: Batch) -> None:
    claim = _claims(batch)[0]
    Job.objects.filter(pk=claim.job_id).update(claim_no=claim.claim_no + 1)

    exchange(batch.pk, [_result(claim)], want=0, held=3, now=NOW)

    assert not Trace.objects.filter(project_id=batch.project_id).exists()


def test_a_day_that_is_missing_loses_no_result(batch: Batch) -> None:
    claims = _claims(batch)
    later = NOW + timedelta(days=300)

    exchange(batch.pk, [_result(claims[0])], want=0, held=3, now=later)

    assert Job.objects.get(pk=claims[0].job_id).status == "done"


def test_a_rule_that_watches_evaluations_sees_them(batch: Batch, actor: Actor) -> None:
    rule = make_rule(actor, source_filter="evaluation", threshold_value=Decimal(10))
    exchange(batch.pk, [_result(claim) for claim in _claims(batch)], want=0, held=3, now=NOW)

    at = NOW + timedelta(minutes=1)
    evaluations.evaluate_project(actor.project.pk, at=at, now=at)

    assert RuleState.objects.get(rule=rule).state == "firing"
