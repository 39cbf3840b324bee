"""What a completed run is compared with, what is kept of it, and who is told."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from access.errors import Conflict, Invalid
from access.models import AuditEvent
from alerts.models import AlertType, Event, Notification
from batches import batches, endpoints, experiments, suites
from batches.case_comparisons import MOST_CALLS
from batches.models import Batch, Job
from evalsched import baselines, comparisons, runs, schedules
from evalsched.models import Run, RunStatus, Schedule
from evalsched.verdicts import Rules
from tests.evalsched.compared_runs import (
    batch_of,
    bring_results,
    make_cases_schedule,
    make_completed,
    make_ended,
    make_under_way,
)
from tests.factories import (
    NOW,
    make_actor,
    make_batch,
    make_case_draft,
    make_endpoint,
    make_run,
    make_schedule,
    make_suite,
)

pytestmark = pytest.mark.django_db
HALF = range(1, 21)


def verdict_of(run: Run, metric: str = "pass_rate") -> str:
    assert run.regression_details is not None
    return str(run.regression_details["metrics"][metric]["verdict"])


def test_the_first_run_has_nothing_to_be_compared_with() -> None:
    run = make_completed(make_cases_schedule(20))

    assert (run.regression_detected, run.baseline_id) == (False, None)
    assert run.regression_details is not None
    assert run.regression_details["sentence"] == baselines.FIRST
    assert run.regression_details["metrics"] == {}


def test_a_run_is_compared_with_the_one_before() -> None:
    schedule = make_cases_schedule(40)
    first = make_completed(schedule)

    second = make_completed(schedule, hours=1, wrong=range(1, 16))

    assert (second.regression_detected, second.baseline_id) == (True, first.pk)
    details = second.regression_details
    assert details is not None
    assert (verdict_of(second), details["pairs"]) == ("regressed", 40)
    assert details["metrics"]["pass_rate"]["worse"] == 15
    assert details["baseline"]["run_id"] == str(first.pk)
    assert details["candidate"]["batch_id"] == str(second.batch_id)
    assert "Pass rate got worse: 100.0 % to 62.5 %" in details["sentence"]


def test_a_regressed_run_is_no_baseline() -> None:
    schedule = make_cases_schedule(40)
    good = make_completed(schedule)
    make_completed(schedule, hours=1, wrong=HALF)

    still_bad = make_completed(schedule, hours=2, wrong=HALF)
    good_again = make_completed(schedule, hours=3)
    after = make_completed(schedule, hours=4)

    assert (still_bad.regression_detected, still_bad.baseline_id) == (True, good.pk)
    assert (good_again.regression_detected, good_again.baseline_id) == (False, good.pk)
    assert after.baseline_id == good_again.pk


def test_runs_that_did_not_complete_and_those_of_others_are_no_baseline() -> None:
    schedule = make_cases_schedule(12)
    make_run(schedule, status=RunStatus.FAILED)
    make_run(schedule, status=RunStatus.CANCELLED, scheduled_for=NOW + timedelta(minutes=1))
    other = make_schedule(make_actor(schedule.user), suite=schedule.suite)
    make_completed(other)

    assert make_completed(schedule, hours=1).baseline_id is None


def test_a_run_whose_batch_was_deleted_is_no_baseline() -> None:
    schedule = make_cases_schedule(12)
    oldest, newest = make_completed(schedule), make_completed(schedule, hours=1)
    batch_of(newest).delete()

    assert make_completed(schedule, hours=2).baseline_id == oldest.pk


ALL = range(1, 21)


def test_a_run_without_scores_is_no_baseline_where_one_has_some() -> None:
    schedule = make_cases_schedule(20)
    good = make_completed(schedule)
    silent = make_completed(schedule, hours=1, unscored=ALL)

    bad = make_completed(schedule, hours=2, wrong=ALL)
    after = make_completed(schedule, hours=3)

    assert (silent.baseline_id, silent.regression_detected) == (good.pk, False)
    assert (bad.baseline_id, bad.regression_detected) == (good.pk, True)
    assert after.baseline_id == good.pk


def test_runs_that_nothing_scores_are_compared_all_the_same() -> None:
    schedule = make_cases_schedule(20, gated_metrics=["latency"])
    first = make_completed(schedule, unscored=ALL)

    slow = make_completed(schedule, hours=1, unscored=ALL, latency_ms=900)
    scored = make_completed(schedule, hours=2)
    after = make_completed(schedule, hours=3)

    assert (slow.baseline_id, slow.regression_detected) == (first.pk, True)
    assert scored.baseline_id == first.pk
    assert after.baseline_id == scored.pk


def test_a_run_that_shares_no_scored_case_with_its_baseline_is_no_baseline() -> None:
    schedule = make_cases_schedule(20)
    good = make_completed(schedule, unscored=range(11, 21))
    other = make_completed(schedule, hours=1, unscored=range(1, 11))

    after = make_completed(schedule, hours=2, wrong=range(1, 11))

    assert (other.baseline_id, other.avg_quality_score) == (good.pk, 1.0)
    assert (after.baseline_id, after.regression_detected) == (good.pk, True)


def test_a_run_that_lacks_answers_is_no_baseline_however_few_a_run_may_have(
    settings: Settings,
) -> None:
    settings.EVALSCHED_MIN_COVERAGE_PERCENT = 50
    schedule = make_cases_schedule(20)
    good = make_completed(schedule)
    broken = make_completed(schedule, hours=1, broken=[1, 4, 7, 10, 13, 16])

    after = make_completed(schedule, hours=2)

    assert verdict_of(broken) == "not_comparable"
    assert after.baseline_id == good.pk


def test_after_a_change_of_conditions_the_next_runs_are_compared_with_each_other() -> None:
    schedule = make_cases_schedule(20)
    make_completed(schedule)
    endpoints.change(make_actor(schedule.user), schedule.endpoint, parameters={"temperature": 1})
    changed = make_completed(schedule, hours=1)

    after = make_completed(schedule, hours=2, wrong=ALL)

    assert verdict_of(changed) == "not_comparable"
    assert (after.baseline_id, after.regression_detected) == (changed.pk, True)


def make_recorded(schedule: Schedule, *, hours: int, **batch: Any) -> Run:
    """Make the run that a program records by starting a batch itself."""
    actor, moment = make_actor(schedule.user), NOW + timedelta(hours=hours)
    wanted = {"suite": schedule.suite, "endpoint": schedule.endpoint} | batch
    made = make_batch(actor, now=moment, deadline_at=moment + timedelta(hours=1), **wanted)
    run = runs.record(actor, schedule, made, now=moment)
    bring_results(made.pk, moment)
    runs.settle(made.pk, now=moment + timedelta(minutes=1))
    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED
    return run


def test_a_run_that_a_program_started_is_a_baseline() -> None:
    schedule = make_cases_schedule(20)
    recorded = make_recorded(schedule, hours=1)

    assert make_completed(schedule, hours=2).baseline_id == recorded.pk


@pytest.mark.parametrize("other", ["suite", "endpoint"])
def test_a_run_of_something_else_that_a_program_started_is_no_baseline(other: str) -> None:
    schedule = make_cases_schedule(20)
    good = make_completed(schedule)
    actor = make_actor(schedule.user)
    another = make_suite(actor, cases=4) if other == "suite" else make_endpoint(actor)
    make_recorded(schedule, hours=1, **{other: another})

    after = make_completed(schedule, hours=2, wrong=ALL)

    assert (after.baseline_id, after.regression_detected) == (good.pk, True)


def test_a_run_of_another_suite_is_compared_with_none_of_this_one() -> None:
    schedule = make_cases_schedule(20)
    make_completed(schedule)
    suite = make_suite(make_actor(schedule.user), cases=4)

    run = make_recorded(schedule, hours=1, suite=suite)

    assert run.baseline_id is None
    assert run.regression_details is not None
    assert run.regression_details["sentence"] == baselines.FIRST


def test_another_model_of_the_schedule_is_compared_with_the_one_before() -> None:
    schedule = make_cases_schedule(20)
    good, actor = make_completed(schedule), make_actor(schedule.user)
    schedule.refresh_from_db()
    schedules.change(actor, schedule, now=NOW, endpoint=make_endpoint(actor))

    run = make_completed(schedule, hours=1, wrong=ALL)

    assert (run.baseline_id, run.regression_detected) == (good.pk, True)


# --- A baseline that was chosen --------------------------------------------------------------


def test_a_chosen_baseline_stays() -> None:
    schedule = make_cases_schedule(12)
    chosen = make_completed(schedule)
    make_completed(schedule, hours=1)
    actor = make_actor(schedule.user)

    schedule = baselines.pin(actor, schedule, chosen)
    pinned = make_completed(schedule, hours=2)
    schedule = baselines.pin(actor, schedule, None)
    free = make_completed(schedule, hours=3)

    assert pinned.baseline_id == chosen.pk
    assert free.baseline_id == pinned.pk
    trail = AuditEvent.objects.filter(action="schedule.baseline_changed").order_by("created_at")
    assert [event.details for event in trail] == [
        {"from": "", "to": str(chosen.pk)},
        {"from": str(chosen.pk), "to": ""},
    ]


def test_choosing_the_same_again_leaves_no_trail() -> None:
    schedule = make_cases_schedule(12)
    chosen, actor = make_completed(schedule), make_actor(schedule.user)
    baselines.pin(actor, schedule, chosen)

    baselines.pin(actor, schedule, chosen)

    assert AuditEvent.objects.filter(action="schedule.baseline_changed").count() == 1


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.TRIGGERED, RunStatus.SKIPPED])
def test_only_a_completed_run_can_be_chosen(status: RunStatus) -> None:
    schedule = make_schedule()
    run = make_run(schedule, status=status)

    with pytest.raises(Invalid, match="Only a completed run of this schedule"):
        baselines.pin(make_actor(schedule.user), schedule, run)


def test_only_a_run_of_the_schedule_can_be_chosen() -> None:
    schedule = make_schedule()
    run = make_completed(make_cases_schedule(12))

    with pytest.raises(Invalid, match="Only a completed run of this schedule"):
        baselines.pin(make_actor(schedule.user), schedule, run)
    with pytest.raises(Invalid, match="no such run"):
        baselines.find(schedule, run.pk)


def test_a_chosen_baseline_without_results_is_said() -> None:
    schedule = make_cases_schedule(12)
    chosen = make_completed(schedule)
    schedule = baselines.pin(make_actor(schedule.user), schedule, chosen)
    batch_of(chosen).delete()

    run = make_completed(schedule, hours=1)

    assert run.regression_details is not None
    assert run.regression_details["sentence"] == baselines.PINNED_WITHOUT_RESULTS
    assert not run.regression_detected


def test_the_results_of_a_chosen_baseline_are_not_deleted() -> None:
    schedule = make_cases_schedule(12, name="Nightly")
    chosen, actor = make_completed(schedule), make_actor(schedule.user)
    Batch.objects.filter(runs=chosen).update(tracking_id="trial")
    schedule = baselines.pin(actor, schedule, chosen)

    with pytest.raises(Conflict, match="chosen for the schedule 'Nightly'"):
        batches.delete(actor, batch_of(chosen), now=NOW)
    with pytest.raises(Conflict, match="chosen for the schedule 'Nightly'"):
        experiments.delete(actor, "trial", cancel=True, now=NOW)

    baselines.pin(actor, schedule, None)
    batches.delete(actor, batch_of(chosen), now=NOW)
    assert not Batch.objects.exists()


def test_deleting_a_baseline_leaves_what_pointed_at_it() -> None:
    schedule = make_cases_schedule(12)
    chosen = make_completed(schedule)
    baselines.pin(make_actor(schedule.user), schedule, chosen)
    run = make_completed(schedule, hours=1)

    chosen.delete()

    run.refresh_from_db()
    schedule.refresh_from_db()
    assert (run.baseline_id, schedule.baseline_id) == (None, None)
    assert run.regression_details is not None


def test_deleting_a_schedule_takes_its_baseline_along() -> None:
    schedule = make_cases_schedule(12)
    baselines.pin(make_actor(schedule.user), schedule, make_completed(schedule))
    make_completed(schedule, hours=1)

    schedules.delete(make_actor(schedule.user), schedule, now=NOW)

    assert not Run.objects.exists()


# --- What the comparison reads ---------------------------------------------------------------


def test_repeats_are_one_case() -> None:
    schedule = make_cases_schedule(12, batch_test_config={"repeats": 3})
    make_completed(schedule)

    run = make_completed(schedule, hours=1, wrong=[1, 2, 3])

    assert run.regression_details is not None
    assert run.regression_details["pairs"] == 12
    assert run.regression_details["metrics"]["quality"]["worse"] == 3


def test_cases_that_met_a_broken_endpoint_are_named_and_count_for_nothing() -> None:
    schedule = make_cases_schedule(20)
    make_completed(schedule)

    run = make_completed(schedule, hours=1, broken=[3, 9, 17])

    details = run.regression_details
    assert details is not None
    assert (run.regression_detected, details["pairs"]) == (False, 17)
    assert details["unpaired"]["reasons"] == {"error": 3}
    assert "3 cases were left out" in details["sentence"]


def test_edited_cases_are_left_out() -> None:
    schedule = make_cases_schedule(20)
    make_completed(schedule)
    edited = make_case_draft(1, prompt="Say it again.")
    suites.put(make_actor(schedule.user), schedule.suite, [edited])

    run = make_completed(schedule, hours=1)

    assert run.regression_details is not None
    assert run.regression_details["pairs"] == 19
    assert run.regression_details["unpaired"]["keys"] == {"edited": ["case-1"]}


def test_the_clusters_are_those_of_the_cases() -> None:
    actor = make_actor()
    drafts = [make_case_draft(n, metadata={"cluster": f"document {n % 4}"}) for n in range(1, 25)]
    schedule = make_schedule(actor, suite=make_suite(actor, cases=drafts))
    make_completed(schedule)

    run = make_completed(schedule, hours=1, wrong=[4, 8])

    assert run.regression_details is not None
    found = run.regression_details["metrics"]["pass_rate"]
    assert (found["clusters"], found["method"]) == (4, "clustered paired t of differences")


@pytest.mark.parametrize("where", ["schedule", "endpoint"])
def test_other_parameters_are_not_comparable(where: str) -> None:
    schedule = make_cases_schedule(12)
    make_completed(schedule)
    actor = make_actor(schedule.user)
    if where == "schedule":
        config = {"parameters": {"temperature": 1}}
        schedules.change(actor, schedule, now=NOW, batch_test_config=config)
    else:
        endpoints.change(actor, schedule.endpoint, parameters={"temperature": 1})
    schedule.refresh_from_db()

    run = make_completed(schedule, hours=1, wrong=range(1, 12))

    assert verdict_of(run) == "not_comparable"
    assert not run.regression_detected
    assert run.regression_details is not None
    assert "model's parameters changed" in run.regression_details["sentence"]


def test_times_and_costs_are_compared() -> None:
    schedule = make_cases_schedule(20)
    make_completed(schedule, cost=Decimal("0.001"))

    run = make_completed(schedule, hours=1, latency_ms=200, cost=Decimal("0.0011"))

    assert verdict_of(run, "latency") == verdict_of(run, "ttft") == "regressed"
    assert not run.regression_detected
    assert run.regression_details is not None
    assert run.regression_details["metrics"]["cost"]["estimate"] == pytest.approx(1.1)


def test_the_schedules_rules_are_followed() -> None:
    rules = {"gated_metrics": ["latency"], "regression_threshold_percent": 90.0}
    schedule = make_cases_schedule(20, **rules)
    make_completed(schedule)

    wrong = make_completed(schedule, hours=1, wrong=range(1, 16))
    slow = make_completed(schedule, hours=2, latency_ms=300)

    assert not wrong.regression_detected
    assert slow.regression_detected
    assert slow.regression_details is not None
    assert slow.regression_details["gated_metrics"] == ["latency"]


def test_a_run_under_way_is_judged_by_the_rules_that_it_was_made_with() -> None:
    schedule = make_cases_schedule(40)
    make_completed(schedule)
    under_way = make_under_way(schedule, hours=1)
    schedule.refresh_from_db()
    schedule = schedules.change(
        make_actor(schedule.user),
        schedule,
        now=NOW,
        regression_threshold_percent=90.0,
        regression_method="threshold",
        gated_metrics=["cost"],
        alert_on_regression=False,
    )

    run = make_ended(under_way, wrong=range(1, 16))

    assert run.regression_detected
    assert run.regression_details is not None
    assert run.regression_details["threshold_percent"] == 10
    assert Event.objects.filter(alert_type=AlertType.EVALUATION_REGRESSION).exists()
    later = make_completed(schedule, hours=2, wrong=range(1, 16))
    assert not later.regression_detected


def test_a_run_of_an_older_release_is_judged_by_its_schedule() -> None:
    schedule = make_cases_schedule(40, regression_threshold_percent=50.0)
    make_completed(schedule)
    run = make_under_way(schedule, hours=1)
    for name in ("gated_metrics", "regression_method", "regression_threshold_percent"):
        del run.snapshot[name]
    del run.snapshot["alert_on_regression"], run.snapshot["alert_on_failure"]
    run.save(update_fields=["snapshot"])

    ended = make_ended(run, wrong=range(1, 25))

    assert ended.regression_details is not None
    assert ended.regression_details["threshold_percent"] == 50
    assert Event.objects.filter(alert_type=AlertType.EVALUATION_REGRESSION).exists()


def test_a_comparison_reads_each_batch_once_however_many_cases_there_are() -> None:
    schedule = make_cases_schedule(60)
    both = [make_completed(schedule, hours=hours) for hours in (0, 1)]
    sides = [comparisons.Compared(batch_of(run), run) for run in both]

    with CaptureQueriesContext(connection) as queries:
        comparisons.compare(sides[0], sides[1], Rules())

    assert len(queries) == 2


# --- When it goes wrong ----------------------------------------------------------------------


def test_a_comparison_that_fails_leaves_the_run_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make_cases_schedule(12)
    make_completed(schedule)

    def fails(*_: Any) -> Any:
        # As a real one would: inside the transaction, which it must not take along.
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    monkeypatch.setattr(comparisons, "compare", fails)
    run = make_completed(schedule, hours=1, wrong=range(1, 12))

    assert (run.status, run.regression_detected) == (RunStatus.COMPLETED, False)
    assert run.regression_details is not None
    assert "division by zero" in run.regression_details["sentence"]
    schedule.refresh_from_db()
    assert (schedule.last_run_id, schedule.last_run_status) == (run.pk, "success")


def test_a_run_that_failed_is_not_compared() -> None:
    schedule = make_cases_schedule(10)
    make_completed(schedule)
    run = make_run(schedule, status=RunStatus.FAILED, scheduled_for=NOW + timedelta(hours=1))

    assert run.regression_details is None


@pytest.mark.parametrize(
    "changes",
    [
        {"regression_detected": True},
        {
            "regression_detected": True,
            "regression_details": {},
            "status": "failed",
            "error_message": "x",
        },
    ],
)
def test_the_database_refuses_a_regression_without_a_comparison(changes: dict[str, Any]) -> None:
    run = make_run(status=RunStatus.COMPLETED)

    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(**changes)


@pytest.mark.parametrize(
    "changes", [{"gated_metrics": []}, {"gated_metrics": ["beauty"]}, {"regression_method": "dice"}]
)
def test_the_database_refuses_rules_that_are_none(changes: dict[str, Any]) -> None:
    schedule = make_schedule()

    with pytest.raises(IntegrityError), transaction.atomic():
        Schedule.objects.filter(pk=schedule.pk).update(**changes)


def test_the_database_refuses_the_run_of_another_project() -> None:
    schedule, foreign = make_schedule(), make_run()

    with pytest.raises(IntegrityError), transaction.atomic():
        Schedule.objects.filter(pk=schedule.pk).update(baseline=foreign)


# --- Who is told -----------------------------------------------------------------------------


def test_a_regression_is_told_once_with_what_to_do() -> None:
    schedule = make_cases_schedule(40, name="Nightly")
    first = make_completed(schedule)
    run = make_completed(schedule, hours=1, wrong=range(1, 16))

    event = Event.objects.get(alert_type=AlertType.EVALUATION_REGRESSION)
    assert event.subject == "Regression: Nightly, quality and pass rate got worse"
    assert "15 worse, 0 better" in event.summary
    assert "press Use as baseline" in event.summary
    assert event.path == f"/admin/evalsched/run/{run.pk}/change/"
    facts = dict(event.facts)
    assert facts["Pass rate"] == "100.0 % to 62.5 % (40 cases)"
    assert facts["Cases compared"] == "40"
    assert facts["Threshold"] == "10 % of the baseline"
    assert facts["Baseline"] == f"the run for {first.scheduled_for:%Y-%m-%d %H:%M} UTC"
    assert Notification.objects.filter(event=event).count() == 1


@pytest.mark.parametrize("wanted", [False, True])
def test_a_regression_is_told_where_that_is_wanted(wanted: bool) -> None:
    schedule = make_cases_schedule(40, alert_on_regression=wanted, alert_on_failure=not wanted)
    make_completed(schedule)
    make_completed(schedule, hours=1, wrong=HALF)

    assert Event.objects.exists() is wanted


def test_a_run_that_is_no_regression_is_not_told() -> None:
    schedule = make_cases_schedule(40)
    make_completed(schedule)
    make_completed(schedule, hours=1, wrong=[1, 2])

    assert not Event.objects.exists()


# --- What the next run can see ---------------------------------------------------------------


def test_before_the_first_comparison_something_is_assumed() -> None:
    found = schedules.detection(make_cases_schedule(40))

    assert found.assumed
    assert found.sentence == (
        "This suite of 40 cases detects a drop of 25 points or more, "
        "if 1 case in 20 changes from run to run by chance."
    )


def test_repeats_see_more() -> None:
    once, often = make_cases_schedule(40), make_cases_schedule(40)
    often.batch_test_config = {"repeats": 5}
    spoilt = make_cases_schedule(40)
    spoilt.batch_test_config = {"repeats": "ten"}

    drops = [schedules.detection(each).drop for each in (often, once, spoilt)]

    assert drops[0] is not None
    assert drops[1] is not None
    assert drops[0] < drops[1] == drops[2]


def test_after_a_comparison_it_is_known_how_far_runs_lie_apart() -> None:
    schedule = make_cases_schedule(40)
    make_completed(schedule, wrong=[1, 2, 3, 4])
    make_completed(schedule, hours=1, wrong=[3, 4, 5, 6])

    schedule.refresh_from_db()
    found = schedules.detection(schedule)
    assert schedule.paired_spread == pytest.approx(0.1**0.5)
    assert not found.assumed
    assert found.drop == pytest.approx(0.28, abs=0.005)


def test_a_run_that_got_worse_tells_nothing_of_how_far_equal_runs_lie_apart() -> None:
    schedule = make_cases_schedule(40)
    make_completed(schedule, wrong=[1, 2])
    make_completed(schedule, hours=1, wrong=[2, 3])
    schedule.refresh_from_db()
    before = schedule.paired_spread

    make_completed(schedule, hours=2, wrong=HALF)

    schedule.refresh_from_db()
    assert schedule.paired_spread == before == pytest.approx(0.05**0.5)


def test_another_suite_is_assumed_about_again() -> None:
    schedule = make_cases_schedule(40)
    make_completed(schedule)
    make_completed(schedule, hours=1)
    actor = make_actor(schedule.user)
    schedule.refresh_from_db()

    changed = schedules.change(actor, schedule, now=NOW, suite=make_suite(actor, cases=5))

    found = schedules.detection(changed)
    assert (found.assumed, found.drop) == (True, None)
    assert "too small for statistics" in found.sentence


# --- Any two ---------------------------------------------------------------------------------


def test_batches_are_compared_as_well() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=20)
    both = [make_batch(actor, suite=suite) for _ in range(2)]
    bring_results(both[0].pk, NOW)
    bring_results(both[1].pk, NOW, wrong=range(1, 11))

    sides = [comparisons.find(actor.project.pk, each.pk, field="baseline") for each in both]
    report = comparisons.report(*sides)

    assert report["regression_detected"]
    assert report["baseline"]["run_id"] is None


def test_a_batch_of_a_run_is_judged_by_its_schedule() -> None:
    schedule = make_cases_schedule(40, regression_threshold_percent=50)
    first = make_completed(schedule)
    second = make_completed(schedule, hours=1, wrong=range(1, 16))
    project_id = schedule.project_id

    by_batch = comparisons.report(
        comparisons.find(project_id, first.pk, field="baseline"),
        comparisons.find(project_id, second.batch_id or second.pk, field="candidate"),
    )

    assert by_batch == second.regression_details
    assert not by_batch["regression_detected"]


def test_what_is_under_way_is_not_compared() -> None:
    batch = make_batch()

    with pytest.raises(Conflict, match="The candidate is under way"):
        comparisons.find(batch.project_id, batch.pk, field="candidate")


def test_a_run_without_results_is_not_compared() -> None:
    run = make_run(status=RunStatus.SKIPPED)

    with pytest.raises(Invalid, match="has no results"):
        comparisons.find(run.project_id, run.pk, field="baseline")


def test_more_calls_than_anybody_waits_for_are_not_compared() -> None:
    schedule = make_cases_schedule(12)
    runs_ = [make_completed(schedule), make_completed(schedule, hours=1)]
    sides = [comparisons.Compared(batch_of(run), run) for run in runs_]
    sides[0].batch.total = MOST_CALLS

    with pytest.raises(Conflict, match="too many to compare while you wait"):
        comparisons.report(sides[0], sides[1])


@pytest.mark.parametrize("percent", [1e-300, 1e-9])
def test_a_threshold_next_to_nothing_is_compared_all_the_same(percent: float) -> None:
    schedule = make_cases_schedule(20, regression_threshold_percent=percent)
    make_completed(schedule)

    run = make_completed(schedule, hours=1, wrong=[1])

    assert run.regression_details is not None
    assert run.regression_details["metrics"]["pass_rate"]["cases_needed"] is None
    assert "no number of cases would decide it" in run.regression_details["sentence"]


def test_the_plain_threshold_does_not_decide_what_is_all_one_cluster() -> None:
    actor = make_actor()
    drafts = [make_case_draft(n, metadata={"cluster": "document"}) for n in range(1, 21)]
    schedule = make_schedule(actor, suite=make_suite(actor, cases=drafts))
    make_completed(schedule)

    run = make_completed(schedule, hours=1, wrong=range(1, 11))

    assert not run.regression_detected
    assert run.regression_details is not None
    assert verdict_of(run) == "insufficient"
    assert "at least two clusters are needed" in run.regression_details["sentence"]


def test_jobs_that_did_not_run_are_not_answered() -> None:
    """A cancelled batch: what it has is not held against the model."""
    schedule = make_cases_schedule(12)
    first = make_completed(schedule)
    batch = make_batch(make_actor(schedule.user), suite=schedule.suite)
    Job.objects.filter(batch=batch).move("cancelled")
    Batch.objects.filter(pk=batch.pk).move(
        "cancelled", completed_at=NOW, error_message="Cancelled."
    )

    report = comparisons.report(
        comparisons.find(schedule.project_id, first.pk, field="baseline"),
        comparisons.find(schedule.project_id, batch.pk, field="candidate"),
    )

    assert report["not_comparable"] == ["The candidate stopped early: Cancelled."]
    assert report["unpaired"]["reasons"] == {"error": 12}
