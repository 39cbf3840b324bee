"""What is said beforehand of a run that takes longer than it may."""

import pytest

from access.actors import Actor
from batches.models import Batch, ModelEndpoint, TestSuite
from evalsched import forecasts
from tests.factories import make_actor, make_batch, make_endpoint, make_schedule, make_suite

pytestmark = pytest.mark.django_db


def make_measured(actor: Actor, suite: TestSuite, latency_ms: int) -> ModelEndpoint:
    """Make an endpoint whose last batch had this latency."""
    endpoint = make_endpoint(actor)
    batch = make_batch(actor, suite=suite, endpoint=endpoint)
    Batch.objects.filter(pk=batch.pk).update(latency_sum_ms=latency_ms, latency_count=1)
    return endpoint


def test_calls_that_begin_too_far_apart_are_warned_of_before_any_ran() -> None:
    actor = make_actor()
    schedule = make_schedule(
        actor, suite=make_suite(actor, cases=20), batch_test_config={"delay_ms": 3_600_000}
    )

    assert forecasts.of_schedule(schedule) == [
        "20 calls that begin 3,600,000 ms apart take about 1,140 min, and a run may take 10 min. "
        "Lower delay_ms to 31,578 or less, or shorten the suite."
    ]
    schedule.batch_test_config = {"delay_ms": 31_578}
    assert forecasts.of_schedule(schedule) == []


@pytest.mark.parametrize(("cases", "delay_ms"), [(0, 3_600_000), (1, 3_600_000), (20, 0)])
def test_a_delay_of_nothing_is_not_warned_of(cases: int, delay_ms: int) -> None:
    actor = make_actor()
    suite, endpoint = make_suite(actor, cases=cases), make_endpoint(actor)

    warned = forecasts.warnings(suite, endpoint.pk, concurrency=1, repeats=1, delay_ms=delay_ms)

    assert warned == []


@pytest.mark.parametrize(
    ("latency_ms", "advice"),
    [
        (590_000, "Raise the concurrency to 295 or more, or shorten the suite."),
        (600_001, "A single call takes longer than that: choose a faster model."),
    ],
)
def test_the_advice_fits(latency_ms: int, advice: str) -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=3)
    endpoint = make_measured(actor, suite, latency_ms)

    (warning,) = forecasts.warnings(suite, endpoint.pk, concurrency=1, repeats=100)

    assert warning.endswith(advice)
    assert "take about" in warning


def test_more_at_once_than_possible_is_not_advised() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=20)
    endpoint = make_measured(actor, suite, 400_000)

    (warning,) = forecasts.warnings(suite, endpoint.pk, concurrency=1, repeats=100)

    assert warning.endswith("More than 1,000 at once are not possible: shorten the suite.")
