"""Which batch `evaluate --baseline last` compares with, and by which rules."""

from datetime import timedelta
from typing import Any

import pytest

from access.actors import Actor
from batches import batches, experiments, rescoring
from batches.batches import Config
from batches.experiments import Plan
from batches.models import Batch, ModelEndpoint, TestSuite
from evalsched import evaluations
from evalsched.evaluations import LAST, Exit, Question
from tests.evalsched.compared_runs import batch_of, bring_results, make_completed
from tests.factories import NOW, make_actor, make_batch, make_endpoint, make_schedule, make_suite

pytestmark = pytest.mark.django_db
ALL = range(1, 21)


@pytest.fixture
def actor() -> Actor:
    return make_actor()


@pytest.fixture(autouse=True)
def suite(actor: Actor) -> TestSuite:
    return make_suite(actor, cases=20, name="Mine")


@pytest.fixture(autouse=True)
def endpoint(actor: Actor) -> ModelEndpoint:
    return make_endpoint(actor, name="Bot")


def ask(actor: Actor) -> Question:
    return evaluations.ask(actor, suite="Mine", model="Bot", baseline=LAST, threshold=None)


def last(actor: Actor) -> Batch | None:
    baseline = ask(actor).baseline
    return None if baseline is None else baseline.batch


def evaluate(actor: Actor, *, hours: int, **brought: Any) -> tuple[Batch, Exit]:
    """Do as the command does, so many hours after NOW."""
    question, moment = ask(actor), NOW + timedelta(hours=hours)
    batch = evaluations.start(actor, question, Config(), now=moment)
    bring_results(batch.pk, moment, **brought)
    batch.refresh_from_db()
    return batch, evaluations.judge(actor, question, batch).exit


def test_a_job_that_failed_fails_again_until_the_model_is_good_again(actor: Actor) -> None:
    good, first = evaluate(actor, hours=0)
    worse = [evaluate(actor, hours=hours, wrong=ALL)[1] for hours in (1, 2, 3)]

    assert (first, worse) == (Exit.NO_REGRESSION, [Exit.REGRESSED] * 3)
    assert last(actor) == good
    again, better = evaluate(actor, hours=4)
    assert better == Exit.NO_REGRESSION
    assert last(actor) == again


def test_a_batch_that_nothing_scored_is_last_only_where_none_has_scores(actor: Actor) -> None:
    silent, _ = evaluate(actor, hours=0, unscored=ALL)
    assert last(actor) == silent
    good, _ = evaluate(actor, hours=1)
    evaluate(actor, hours=2, unscored=ALL)

    assert last(actor) == good


def test_a_batch_that_lacks_answers_is_not_last(actor: Actor) -> None:
    good, _ = evaluate(actor, hours=0)
    evaluate(actor, hours=1, broken=[1, 4, 7, 10, 13, 16])

    assert last(actor) == good


def test_a_part_of_the_suite_and_an_experiment_are_not_last(
    actor: Actor, suite: TestSuite, endpoint: ModelEndpoint
) -> None:
    asked: dict[str, Any] = {"suite": suite, "endpoint": endpoint, "now": NOW}
    made = [
        batches.create(user_id=actor.user.pk, config=Config(), target_count=12, **asked),
        batches.create(user_id=actor.user.pk, config=Config(repeats=2), target_count=10, **asked),
        experiments.create(actor, Plan(tracking_id="trial"), config=Config(), **asked),
    ]
    for batch in made:
        bring_results(batch.pk, NOW)

    assert last(actor) is None


def test_a_batch_that_got_worse_is_not_last_when_it_is_scored_anew(actor: Actor) -> None:
    good, _ = evaluate(actor, hours=0)
    bad, _ = evaluate(actor, hours=1, wrong=ALL)
    rescoring.rescore(actor, bad, now=NOW + timedelta(hours=2))

    assert last(actor) == good


def test_the_run_of_a_schedule_is_last_unless_it_regressed_and_its_rules_hold(
    actor: Actor, suite: TestSuite, endpoint: ModelEndpoint
) -> None:
    rules: dict[str, Any] = {"regression_threshold_percent": 25.0, "gated_metrics": ["quality"]}
    schedule = make_schedule(actor, suite=suite, endpoint=endpoint, **rules)
    good = make_completed(schedule)
    make_completed(schedule, hours=1, wrong=ALL)

    question = ask(actor)

    assert question.baseline is not None
    assert (question.baseline.batch, question.baseline.run) == (batch_of(good), good)
    assert question.rules.threshold_percent == 25
    assert list(question.rules.gated) == ["quality"]


def test_the_batch_of_another_model_is_not_last(actor: Actor, suite: TestSuite) -> None:
    bring_results(make_batch(actor, suite=suite, endpoint=make_endpoint(actor)).pk, NOW)

    assert last(actor) is None
