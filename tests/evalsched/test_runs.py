"""The life of a run: admitted under the cap, settled once, counted, cancelled."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError
from pytest_django import Settings

from access.models import AuditEvent
from alerts.models import AlertType, Event, Notification
from batches import batches, claims, endings
from batches.models import Batch, BatchStatus, JobOutcome, ModelEndpoint
from batches.results import Claim, Result
from evalsched import admission, backfills, dispatch, runs, schedules, ticks
from evalsched.models import Run, RunStatus, RunTrigger, Schedule
from tests.factories import NOW, make_actor, make_endpoint, make_run, make_schedule, make_suite
from tests.processes_at_work import at_once

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def make_cases_schedule(cases: int = 5, **fields: Any) -> Schedule:
    actor = make_actor()
    return make_schedule(actor, suite=make_suite(actor, cases=cases), **fields)


def make_started(
    schedule: Schedule | None = None, *, minutes: int = 0, trigger: RunTrigger = RunTrigger.SCHEDULE
) -> Run:
    """Make a scheduled run that has its batch, of the occurrence so many minutes after NOW."""
    schedule = schedule or make_cases_schedule()
    moment = NOW + minutes * MINUTE
    run = make_run(schedule, scheduled_for=moment, trigger=trigger)
    assert admission.start_queued(moment) >= 1
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
    return run


def batch_of(run: Run) -> Batch:
    assert run.batch_id is not None
    return Batch.objects.get(pk=run.batch_id)


def answer(run: Run, *, passed: int = 0, failed: int = 0, broken: int = 0) -> None:
    """Bring results in for the run's batch, as the engine would."""
    batch = batch_of(run)
    wanted = [result_that_passed] * passed + [result_that_failed] * failed
    wanted += [result_that_broke] * broken
    held = claims.exchange(batch.pk, [], want=len(wanted), now=NOW).claims
    results = [make(claim) for make, claim in zip(wanted, held, strict=True)]
    claims.exchange(batch.pk, results, want=0, now=NOW)


def result_that_passed(claim: Claim) -> Result:
    return Result(
        claim, JobOutcome.PASSED, attempts=1, wall_ms=9, score=1.0, latency_ms=8.0, ttft_ms=3.0
    )


def result_that_failed(claim: Claim) -> Result:
    return Result(claim, JobOutcome.FAILED, attempts=1, wall_ms=9, score=0.0, latency_ms=4.0)


def result_that_broke(claim: Claim) -> Result:
    return Result(
        claim,
        JobOutcome.ERROR,
        attempts=5,
        wall_ms=9,
        error_class="infra",
        error_message="no connection",
    )


def settled(run: Run) -> Run:
    assert run.batch_id is not None
    runs.settle(run.batch_id, now=NOW + MINUTE)
    run.refresh_from_db()
    return run


def fail(run: Run) -> Run:
    """End the run's batch as one that could not run, and settle."""
    assert run.batch_id is not None
    endings.fail(run.batch_id, "401: key refused; check the endpoint's key", now=NOW)
    return settled(run)


def test_a_run_gets_its_batch_with_the_schedules_configuration() -> None:
    schedule = make_cases_schedule(batch_test_config={"concurrency": 4, "repeats": 2})
    run = make_started(schedule)

    batch = batch_of(run)
    assert (batch.name, batch.concurrency, batch.total) == (schedule.name, 4, 10)
    assert batch.deadline_at == run.deadline_at == NOW + timedelta(seconds=600)
    assert run.started_at == NOW


def test_the_oldest_are_admitted_first_and_no_more_than_the_cap() -> None:
    made = [
        make_run(make_schedule(), scheduled_for=NOW + minutes * MINUTE) for minutes in (4, 1, 3, 2)
    ]

    assert admission.start_queued(NOW + 5 * MINUTE) == 3
    assert admission.start_queued(NOW + 5 * MINUTE) == 0

    waiting = Run.objects.get(status=RunStatus.TRIGGERED)
    assert waiting == made[0]


def test_a_place_that_is_free_again_is_taken() -> None:
    first = make_started()
    for minutes in (1, 2, 3):
        make_run(make_schedule(), scheduled_for=NOW + minutes * MINUTE)
    assert admission.start_queued(NOW) == 2

    answer(first, passed=5)
    settled(first)

    assert admission.start_queued(NOW) == 1


@pytest.mark.parametrize("second", [RunTrigger.SCHEDULE, RunTrigger.BACKFILL])
@pytest.mark.parametrize("policy", ["skip", "cancel_previous"])
def test_of_one_schedule_one_runs_at_a_time(policy: str, second: RunTrigger) -> None:
    schedule = make_cases_schedule(overlap_policy=policy)
    first = make_started(schedule)
    waiting = make_run(schedule, scheduled_for=NOW + MINUTE, trigger=second)

    assert admission.start_queued(NOW + MINUTE) == 0
    answer(first, passed=5)
    settled(first)
    assert admission.start_queued(NOW + MINUTE) == 1

    waiting.refresh_from_db()
    assert waiting.status == RunStatus.RUNNING


def test_of_one_schedule_two_waiting_ones_do_not_start_together() -> None:
    schedule = make_cases_schedule()
    for minutes in (2, 1):
        scheduled_for = NOW + minutes * MINUTE
        make_run(schedule, scheduled_for=scheduled_for, trigger=RunTrigger.SCHEDULE)

    assert admission.start_queued(NOW + 3 * MINUTE) == 1

    assert schedule.runs.get(status="running").scheduled_for == NOW + MINUTE


@pytest.mark.parametrize("trigger", [RunTrigger.MANUAL, RunTrigger.API])
def test_by_hand_several_run_at_a_time(trigger: RunTrigger) -> None:
    schedule = make_cases_schedule()
    make_started(schedule)
    make_run(schedule, scheduled_for=NOW + MINUTE, trigger=trigger)

    assert admission.start_queued(NOW + MINUTE) == 1


def test_where_overlap_is_allowed_several_run_at_a_time() -> None:
    schedule = make_cases_schedule(overlap_policy="allow")
    make_started(schedule)
    make_run(schedule, scheduled_for=NOW + MINUTE, trigger=RunTrigger.SCHEDULE)

    assert admission.start_queued(NOW + MINUTE) == 1


def test_backfills_wait_for_everybody_else_and_stand_in_nobodys_way() -> None:
    backfilled, other = make_cases_schedule(), make_cases_schedule()
    for minutes in range(150):
        make_run(backfilled, scheduled_for=NOW - minutes * MINUTE, trigger=RunTrigger.BACKFILL)
    late = make_run(other, scheduled_for=NOW + MINUTE, trigger=RunTrigger.SCHEDULE)

    assert admission.start_queued(NOW + MINUTE) == 2

    running = Run.objects.filter(status="running")
    assert set(running.values_list("scheduled_for", flat=True)) == {
        late.scheduled_for,
        NOW - 149 * MINUTE,
    }


def test_what_a_program_started_takes_no_place(settings: Settings) -> None:
    settings.EVALSCHED_MAX_CONCURRENT_RUNS = 1
    make_run(make_schedule(), status=RunStatus.RUNNING, trigger=RunTrigger.API)
    make_run(make_schedule())

    assert admission.start_queued(NOW) == 1


@pytest.mark.django_db(transaction=True)
def test_admitting_at_once_never_lets_a_fourth_run_in() -> None:
    actor = make_actor()
    suite, endpoint = make_suite(actor, cases=1), make_endpoint(actor)
    for minutes in range(5):
        schedule = make_schedule(actor, suite=suite, endpoint=endpoint)
        make_run(schedule, scheduled_for=NOW + minutes * MINUTE)
    for _ in range(50):
        at_once(lambda: admission.start_queued(NOW), lambda: admission.start_queued(NOW))

        running = Run.objects.filter(status=RunStatus.RUNNING)
        oldest = list(Run.objects.order_by("scheduled_for")[:3])
        assert set(running) == set(oldest)
        assert Batch.objects.count() == 3
        Run.objects.update(status="triggered", started_at=None, deadline_at=None, batch=None)
        Batch.objects.all().delete()


def test_an_empty_suite_fails_the_run_with_what_to_do() -> None:
    run = make_run(make_cases_schedule(cases=0))

    assert admission.start_queued(NOW) == 0

    run.refresh_from_db()
    assert (run.status, run.batch_id) == (RunStatus.FAILED, None)
    assert "has no cases. Add some and run it again." in run.error_message
    assert not Batch.objects.exists()


@pytest.mark.parametrize(
    "config",
    [{"speed": 3}, {"name": "x"}, {"concurrency": "ten"}, {"concurrency": -1}, {"repeats": "2"}],
)
def test_a_configuration_that_makes_no_batch_fails_its_run_and_stops_no_other(
    config: dict[str, Any],
) -> None:
    """The API refuses it; an admin's form, SQL or an older release may have stored it."""
    bad, good = make_schedule(), make_schedule()
    Schedule.objects.filter(pk=bad.pk).update(batch_test_config=config)
    bad.refresh_from_db()
    failing = make_run(bad)
    waiting = make_run(good, scheduled_for=NOW + MINUTE)

    assert admission.start_queued(NOW + MINUTE) == 1

    failing.refresh_from_db()
    waiting.refresh_from_db()
    assert failing.status == RunStatus.FAILED
    assert "batch_test_config" in failing.error_message
    assert waiting.status == RunStatus.RUNNING


def test_a_completed_run_carries_its_batchs_figures() -> None:
    run = make_started()
    answer(run, passed=3, failed=2)

    run = settled(run)

    assert (run.status, run.error_message) == (RunStatus.COMPLETED, "")
    assert run.completed_at == NOW + MINUTE
    assert (run.total_prompts, run.successful_prompts, run.failed_prompts) == (5, 5, 0)
    assert run.avg_quality_score == pytest.approx(0.6)
    assert run.avg_latency_ms == pytest.approx((3 * 8 + 2 * 4) / 5)
    assert (run.avg_ttft_ms, run.p95_latency_ms) == (3, 8)
    schedule = run.schedule
    schedule.refresh_from_db()
    assert (schedule.last_run_status, schedule.last_run_id) == ("success", run.pk)
    assert schedule.last_run_at == NOW


def test_wrong_answers_alone_do_not_fail_a_run() -> None:
    run = make_started()
    answer(run, failed=5)

    assert settled(run).status == RunStatus.COMPLETED
    assert not Event.objects.exists()


def test_coverage_under_the_least_fails_the_run_and_says_so() -> None:
    enough = make_started(make_cases_schedule())
    answer(enough, passed=4, broken=1)
    too_few = make_started(make_cases_schedule(), minutes=1)
    answer(too_few, passed=3, broken=2)

    assert settled(enough).status == RunStatus.COMPLETED
    run = settled(too_few)

    assert run.status == RunStatus.FAILED
    assert run.error_message == (
        "Only 3 of 5 calls were answered, at least 80 % are needed. 2 times: no connection"
    )
    assert run.error_details == {"error_class": "coverage", "errors": {"no connection": 2}}


def test_a_failed_batch_fails_its_run_with_the_same_sentence() -> None:
    run = fail(make_started())

    assert run.status == RunStatus.FAILED
    assert run.error_message == "401: key refused; check the endpoint's key"
    assert run.error_details == {"error_class": "rejected", "batch_status": "failed"}
    event = Event.objects.get()
    assert (event.alert_type, event.key) == (AlertType.EVALUATION_FAILED, str(run.pk))
    assert event.user_id == run.schedule.user_id


def test_nobody_is_told_where_the_schedule_says_so() -> None:
    fail(make_started(make_cases_schedule(alert_on_failure=False)))

    assert not Event.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_settlers_settle_once() -> None:
    schedule = make_cases_schedule()
    for number in range(10):
        Schedule.objects.update(consecutive_failures=0)
        run = make_started(schedule, minutes=number)
        batch = batch_of(run)
        # Its end without the signal: lost with the process that should have sent it.
        Batch.objects.filter(pk=batch.pk).move(
            BatchStatus.FAILED, completed_at=NOW, error_message="broken"
        )

        at_once(*[lambda batch=batch: runs.settle(batch.pk, now=NOW)] * 2)

        schedule.refresh_from_db()
        assert schedule.consecutive_failures == 1
        assert Event.objects.count() == number + 1


def test_a_batch_that_ended_while_nobody_listened_is_settled_by_the_tick() -> None:
    run = make_started()
    answer(run, passed=5)

    ticks.tick(NOW + MINUTE)

    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED


def test_a_batch_deleted_under_its_run_fails_it() -> None:
    run = make_started()
    Batch.objects.all().delete()

    runs.settle_lost(NOW + MINUTE)

    run.refresh_from_db()
    assert run.status == "failed"
    assert run.error_message == "Its batch was deleted while it ran. Run it again."


def test_after_enabling_it_takes_as_many_failures_again() -> None:
    """Failure, timeout, failure: disabled once, told once; enabled, one failure: still enabled."""
    actor = make_actor()
    schedule = make_schedule(actor, suite=make_suite(actor, cases=5))
    fail(make_started(schedule))
    late = make_started(schedule, minutes=1)
    ticks.tick(NOW + 12 * MINUTE)
    late.refresh_from_db()
    fail(make_started(schedule, minutes=20))

    schedule.refresh_from_db()
    disabled = not schedule.is_active
    schedules.set_active(actor, schedule, True, now=NOW)
    fail(make_started(schedule, minutes=21))

    schedule.refresh_from_db()
    assert late.error_details["error_class"] == "timeout"
    assert disabled
    assert (schedule.is_active, schedule.consecutive_failures) == (True, 1)
    told = Event.objects.filter(alert_type=AlertType.SCHEDULE_DISABLED)
    assert told.count() == 1
    assert Notification.objects.filter(event__in=told).count() == 1


def test_failures_in_a_row_disable_the_schedule_once() -> None:
    schedule = make_cases_schedule()
    for number in range(4):
        fail(make_started(schedule, minutes=number))

    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.next_run_at) == (False, None)
    assert schedule.pause_reason == (
        "3 scheduled runs failed in a row, the last one: 401: key refused; check the endpoint's key"
    )
    assert AuditEvent.objects.filter(action="schedule.disabled").count() == 1
    assert Event.objects.filter(alert_type=AlertType.SCHEDULE_DISABLED).count() == 1
    assert Event.objects.filter(alert_type=AlertType.EVALUATION_FAILED).count() == 4
    assert Notification.objects.count() == 5


def test_a_success_ends_the_row_of_failures() -> None:
    schedule = make_cases_schedule()
    fail(make_started(schedule))
    fail(make_started(schedule, minutes=1))
    good = make_started(schedule, minutes=2)
    answer(good, passed=5)
    settled(good)

    fail(make_started(schedule, minutes=3))

    schedule.refresh_from_db()
    assert (schedule.consecutive_failures, schedule.is_active) == (1, True)


def test_failures_count_in_the_order_in_which_they_finish() -> None:
    """The one that started first succeeds last, and that is what counts."""
    schedule = make_cases_schedule(overlap_policy="allow")
    early, late = make_started(schedule), make_started(schedule, minutes=1)

    fail(late)
    answer(early, passed=5)
    settled(early)

    schedule.refresh_from_db()
    assert schedule.consecutive_failures == 0


def test_only_scheduled_runs_that_failed_count() -> None:
    schedule = make_cases_schedule()
    fail(make_started(schedule, trigger=RunTrigger.MANUAL))
    fail(make_started(schedule, minutes=1, trigger=RunTrigger.API))
    runs.cancel(make_started(schedule, minutes=2), now=NOW)

    schedule.refresh_from_db()
    assert (schedule.consecutive_failures, schedule.is_active) == (0, True)
    assert schedule.last_run_status == "cancelled"
    assert Event.objects.filter(alert_type=AlertType.EVALUATION_FAILED).count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_failures_at_the_same_moment_disable_the_schedule_once() -> None:
    schedule = make_cases_schedule(overlap_policy="allow")
    Schedule.objects.update(consecutive_failures=1)
    failing = [make_started(schedule, minutes=number) for number in range(2)]
    for run in failing:
        Batch.objects.filter(runs=run).move(
            BatchStatus.FAILED, completed_at=NOW, error_message="broken"
        )

    at_once(*[lambda run=run: runs.settle(run.batch_id, now=NOW) for run in failing])

    schedule.refresh_from_db()
    assert (schedule.consecutive_failures, schedule.is_active) == (3, False)
    assert Event.objects.filter(alert_type=AlertType.SCHEDULE_DISABLED).count() == 1
    assert AuditEvent.objects.filter(action="schedule.disabled").count() == 1


def test_a_run_past_its_deadline_fails_and_frees_its_place(settings: Settings) -> None:
    settings.EVALSCHED_MAX_CONCURRENT_RUNS = 1
    run = make_started()
    Batch.objects.update(started_at=NOW)
    waiting = make_run(make_schedule(), scheduled_for=NOW + MINUTE)

    ticks.tick(NOW + timedelta(seconds=599))
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
    ticks.tick(NOW + timedelta(seconds=601))

    run.refresh_from_db()
    waiting.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert run.error_details["error_class"] == "timeout"
    assert run.error_message.startswith("Timed out after 10 min with 0 of 5 calls done.")
    assert batch_of(run).status == BatchStatus.FAILED
    assert waiting.status == RunStatus.RUNNING


def test_cancelling_a_run_stops_its_batch_and_tells_nobody() -> None:
    run = make_started()

    assert runs.cancel(run, now=NOW + MINUTE)
    assert not runs.cancel(run, now=NOW + MINUTE)
    settled(run)

    assert (run.status, run.completed_at) == (RunStatus.CANCELLED, NOW + MINUTE)
    assert batch_of(run).status == BatchStatus.CANCELLED
    assert not Event.objects.exists()


def test_cancelling_a_waiting_run_needs_no_batch() -> None:
    run = make_run()

    assert runs.cancel(run, now=NOW)

    assert admission.start_queued(NOW) == 0
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED


@pytest.mark.django_db(transaction=True)
def test_cancelling_while_the_batch_ends_is_one_end_and_no_deadlock() -> None:
    schedule = make_cases_schedule(cases=1)
    for number in range(20):
        run = make_started(schedule, minutes=number)
        batch = batch_of(run)
        Batch.objects.filter(pk=batch.pk).update(done=1, passed=1)
        Batch.objects.filter(pk=batch.pk).move(BatchStatus.COMPLETED, completed_at=NOW)

        at_once(partial(runs.cancel, run, now=NOW), partial(runs.settle, batch.pk, now=NOW))

        run.refresh_from_db()
        schedule.refresh_from_db()
        ended = {"completed": "success", "cancelled": "cancelled"}
        assert schedule.last_run_status == ended[run.status]


def test_running_now_works_on_an_inactive_schedule() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    schedules.set_active(actor, schedule, False, now=NOW)

    run = runs.trigger(actor, schedule, now=NOW)

    assert (run.status, run.trigger, run.scheduled_for) == ("triggered", "manual", NOW)
    assert admission.start_queued(NOW) == 1
    assert AuditEvent.objects.filter(action="run.triggered").count() == 1


def test_a_batch_of_nobodys_run_is_not_settled() -> None:
    run = make_started()
    other = batches.create(
        user_id=run.user_id,
        suite=run.schedule.suite,
        endpoint=run.schedule.endpoint,
        config=batches.Config(),
        now=NOW,
    )

    runs.settle(other.pk, now=NOW)

    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING


def test_an_endpoint_in_use_cannot_vanish_even_by_sql() -> None:
    schedule = make_schedule()

    with pytest.raises(IntegrityError, match="endpoint_id_in_project"):
        ModelEndpoint.objects.filter(pk=schedule.model_endpoint.pk).delete()


def test_a_schedule_that_is_disabled_takes_its_waiting_runs_with_it() -> None:
    schedule = make_cases_schedule(catchup_policy="all")
    Schedule.objects.update(batch_test_config={"concurrency": "many"})
    dispatch.dispatch_due(NOW + 13 * HOUR)
    by_hand = make_run(schedule, trigger=RunTrigger.MANUAL, scheduled_for=NOW + 20 * HOUR)

    for _ in range(3):
        admission.start_queued(NOW + 13 * HOUR)

    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.consecutive_failures) == (False, 3)
    made = schedule.runs.filter(trigger=RunTrigger.SCHEDULE)
    assert made.filter(status=RunStatus.FAILED).count() == 3
    cancelled = made.filter(status=RunStatus.CANCELLED)
    assert cancelled.count() == 10
    assert all(run.error_message.startswith("The schedule was disabled: 3") for run in cancelled)
    by_hand.refresh_from_db()
    assert by_hand.status == RunStatus.RUNNING
    assert Event.objects.filter(alert_type=AlertType.EVALUATION_FAILED).count() == 3


def test_switching_off_cancels_what_waits_and_leaves_what_runs() -> None:
    actor = make_actor()
    schedule = make_schedule(actor, catchup_policy="all")
    dispatch.dispatch_due(NOW + 3 * HOUR)
    admission.start_queued(NOW + 3 * HOUR)

    schedules.set_active(actor, schedule, False, now=NOW + 3 * HOUR)

    found = schedule.runs.order_by("scheduled_for").values_list("status", flat=True)
    assert list(found) == ["running", "cancelled", "cancelled"]


def test_what_waits_of_a_schedule_that_came_to_its_end_still_runs() -> None:
    schedule = make_schedule(catchup_policy="all", max_runs=2)

    dispatch.dispatch_due(NOW + 5 * HOUR)

    schedule.refresh_from_db()
    assert not schedule.is_active
    assert schedule.runs.filter(status=RunStatus.TRIGGERED).count() == 2


def test_the_big_switch_stops_what_waits_of_schedules_and_backfills() -> None:
    actor = make_actor()
    off, on = make_schedule(actor, is_active=False), make_schedule(actor, catchup_policy="all")
    backfills.start(actor, off, NOW - 3 * HOUR, NOW, now=NOW)
    by_hand = make_run(on, trigger=RunTrigger.MANUAL)
    dispatch.dispatch_due(NOW + 2 * HOUR)

    schedules.pause_all(now=NOW + 2 * HOUR)

    by_hand.refresh_from_db()
    assert by_hand.status == RunStatus.TRIGGERED
    stopped = Run.objects.exclude(pk=by_hand.pk)
    assert {(run.status, run.error_message) for run in stopped} == {
        (RunStatus.CANCELLED, "Stopped by pause_all.")
    }
    assert stopped.count() == 6
