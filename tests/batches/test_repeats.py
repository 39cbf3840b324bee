"""pass@k and flip rates: against their definitions, by counting every possibility."""

from itertools import combinations

import pytest

from access.actors import Actor
from batches import repeats
from batches.models import Batch, Job
from tests.clients import Api
from tests.evalsched.compared_runs import bring_results
from tests.factories import NOW, make_batch, make_suite


@pytest.mark.parametrize("scored", range(1, 7))
def test_pass_at_k_is_the_share_of_choices_of_k_that_hold_a_pass(scored: int) -> None:
    for passed in range(scored + 1):
        calls = [True] * passed + [False] * (scored - passed)
        for k in range(1, scored + 1):
            choices = [any(chosen) for chosen in combinations(calls, k)]

            found = repeats.pass_at_k(scored, passed, k)

            assert found == pytest.approx(sum(choices) / len(choices))


def test_pass_at_k_needs_k_calls() -> None:
    assert repeats.pass_at_k(2, 2, 3) is None
    assert repeats.of_case(4, 1) == pytest.approx({"1": 0.25, "2": 0.5, "3": 0.75})
    assert repeats.of_case(0, 0) == {}


@pytest.mark.parametrize("scored", range(2, 7))
def test_the_flip_rate_is_the_share_of_pairs_that_disagree(scored: int) -> None:
    for passed in range(scored + 1):
        calls = [True] * passed + [False] * (scored - passed)
        pairs = [one != other for one, other in combinations(calls, 2)]

        assert repeats.flip_rate(scored, passed) == pytest.approx(sum(pairs) / len(pairs))
        assert repeats.flaky(scored, passed) is any(pairs)


def test_cases_are_taken_together_where_they_have_so_many_calls() -> None:
    found = repeats.together([(2, 1), (2, 2), (1, 0), (0, 0)])

    assert found.pass_at_k == pytest.approx({"1": 0.5, "2": 1.0})
    assert (found.flip_rate, found.flaky_cases) == (0.5, 1)


@pytest.fixture
def batch(actor: Actor) -> Batch:
    """Three cases, four times: the first passes, the second half the time, the third is broken."""
    made = make_batch(actor, suite=make_suite(actor, cases=3), repeats=4)
    bring_results(made.pk, NOW, broken={3})
    Job.objects.filter(batch=made, ordinal=1, repeat__gt=2).update(outcome="failed", score=0)
    return made


@pytest.mark.django_db
def test_a_batch_tells_how_its_repeats_agree(batch: Batch, api: Api, actor: Actor) -> None:
    page = api.read(f"batches/{batch.pk}/cases").json()

    assert page["count"] == 3
    steady, flaky, broken = page["results"]
    assert (steady["case_key"], steady["calls"], steady["pass_rate"]) == ("case-1", 4, 1.0)
    assert (steady["flaky"], steady["flip_rate"], steady["pass_at_k"]["3"]) == (False, 0.0, 1.0)
    assert (flaky["flaky"], flaky["score"]) == (True, 0.5)
    assert flaky["flip_rate"] == pytest.approx(4 / 6)
    assert flaky["pass_at_k"] == pytest.approx({"1": 0.5, "2": 5 / 6, "3": 1.0})
    assert (broken["answered"], broken["pass_rate"], broken["pass_at_k"]) == (0, None, {})
    only = api.read(f"batches/{batch.pk}/cases?flaky=true").json()
    assert [case["case_key"] for case in only["results"]] == ["case-2"]
    told = api.read(f"batches/{batch.pk}").json()["repeated"]
    assert told["pass_at_k"]["1"] == pytest.approx(0.75)
    assert (told["flip_rate"], told["flaky_cases"]) == (pytest.approx(2 / 6), 1)
    assert api.read(f"batches/{make_batch(actor).pk}").json()["repeated"] is None
