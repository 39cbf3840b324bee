"""Scheduled model runs: the same scheduler as for evaluations, with one call a run."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from pytest_django import Settings

from access import clock
from access.models import AuditEvent
from alerts.models import AlertType, Event
from batches import calls, endpoints, engine
from batches.calls import Backoff
from batches.models import Batch, BatchStatus
from evalsched import admission, dispatch, model_runs, runs, schedules, ticks
from evalsched.models import (
    Execution,
    ModelRun,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
    ScheduleKind,
)
from tests.factories import (
    NOW,
    make_actor,
    make_batch,
    make_endpoint,
    make_execution,
    make_model_run,
    make_run,
    make_schedule,
    make_suite,
)
from tests.processes_at_work import LOOPBACK
from tests.servers_http import ModelServer

HOUR = timedelta(hours=1)
SECRET = "sk-very-secret"


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    assert calls.call.__kwdefaults__ is not None
    monkeypatch.setitem(calls.call.__kwdefaults__, "backoff", Backoff(first_s=0.01, most_s=0.02))
    with ModelServer() as running:
        yield running


def make_asking(server: ModelServer, parameters: dict[str, Any], **endpoint: Any) -> ModelRun:
    actor = make_actor()
    fields = {"provider": "openai", "base_url": server.base_url, "model": "m", **endpoint}
    asked = make_endpoint(actor, **fields)
    return make_model_run(actor, endpoint=asked, parameters=parameters)


def ended(row: ModelRun, trigger: RunTrigger = RunTrigger.MANUAL) -> Execution:
    """Execute it to its end, as workers do."""
    now = clock.database_now()
    made = make_execution(row, scheduled_for=now, trigger=trigger)
    ticks.tick(now)
    made.refresh_from_db()
    while made.batch_id is not None and engine.work(made.batch_id, stopping=lambda: False):
        pass
    ticks.tick(clock.database_now())
    return Execution.objects.get(pk=made.pk)


# --- One call ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_execution_asks_word_for_word_with_the_options(server: ModelServer) -> None:
    messages = [
        {"role": "system", "content": "Keep {{ braces }} and {% tags %}."},
        {"role": "user", "content": "Say {{ hello }}."},
    ]
    options = {"temperature": 0.5, "user": {"api_key": SECRET}}
    row = make_asking(server, {"messages": messages, "sensitive": ["note"], **options})

    execution = ended(row)

    assert execution.status == RunStatus.COMPLETED, execution.error_message
    sent = server.calls().last["body"]
    assert sent["messages"] == messages
    assert (sent["temperature"], sent["user"]) == (0.5, {"api_key": SECRET})
    assert "sensitive" not in sent
    assert execution.answer is not None
    assert execution.answer.output == "Say {{ hello }}."
    assert (execution.regression_details, execution.avg_quality_score) == (None, None)
    assert execution.batch.request.reveal().count(SECRET) == 1
    row.refresh_from_db()
    assert (row.last_run_status, row.last_run_id) == ("success", execution.pk)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"api_key": "another"}, "key refused"),
        ({"failures_first": 99, "failure_status": 500}, "500"),
        ({"mode": "refusal"}, ""),
    ],
    ids=["wrong key", "broken", "declined"],
)
def test_a_call_without_an_answer_fails_its_execution_with_its_sentence(
    behaviour: dict[str, Any], said: str, server: ModelServer
) -> None:
    server.configure(**behaviour)
    execution = ended(make_asking(server, {"prompt": "Hello"}, api_key="wrong"))

    assert execution.status == RunStatus.FAILED
    assert said in execution.error_message
    assert execution.error_message
    assert execution.answer is None
    assert SECRET not in execution.error_message
    assert not Event.objects.filter(alert_type=AlertType.EVALUATION_FAILED).exists()


@pytest.mark.django_db(transaction=True)
def test_one_that_fails_three_times_in_a_row_is_disabled(server: ModelServer) -> None:
    server.configure(api_key="another")
    row = make_asking(server, {"prompt": "Hello", "token": SECRET}, api_key="wrong")

    for _ in range(3):
        ended(row, RunTrigger.SCHEDULE)

    row.refresh_from_db()
    assert (row.is_active, row.next_run_at, row.consecutive_failures) == (False, None, 3)
    assert "key refused" in row.pause_reason
    told = Event.objects.get(alert_type=AlertType.SCHEDULE_DISABLED)
    assert Event.objects.filter(alert_type=AlertType.JOB_FAILED).count() == 3
    assert told.path == f"/admin/evalsched/modelrun/{row.pk}/change/"
    kept = [str(event.details) for event in AuditEvent.objects.all()]
    kept += [f"{event.summary} {event.facts}" for event in Event.objects.all()]
    assert SECRET not in "".join(kept)


# --- The same scheduler ------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_due_one_gets_one_run_for_its_occurrence() -> None:
    row = make_model_run()

    dispatch.dispatch_due(NOW + HOUR)
    dispatch.dispatch_due(NOW + HOUR)

    run = Run.objects.get()
    assert (run.schedule_id, run.scheduled_for) == (row.pk, NOW + HOUR)
    assert (run.status, run.trigger) == (RunStatus.TRIGGERED, RunTrigger.SCHEDULE)
    assert "parameters" not in run.snapshot


@pytest.mark.django_db
def test_model_runs_and_evaluations_have_a_cap_each(settings: Settings) -> None:
    settings.EVALSCHED_MAX_CONCURRENT_RUNS = 1
    settings.EVALSCHED_MAX_CONCURRENT_MODEL_RUNS = 2
    for _ in range(3):
        make_run(make_schedule())
        make_execution()

    assert admission.start_queued(NOW) == 3
    assert admission.start_queued(NOW) == 0

    running = Run.objects.filter(status=RunStatus.RUNNING)
    assert running.filter(schedule__kind=ScheduleKind.EVALUATION).count() == 1
    assert running.filter(schedule__kind=ScheduleKind.MODEL_RUN).count() == 2


@pytest.mark.django_db
def test_an_execution_takes_the_parameters_of_the_moment_it_starts() -> None:
    row = make_model_run()
    execution = make_execution(row)
    actor = make_actor(row.user)
    model_runs.change(actor, row, now=NOW, parameters={"prompt": "Say goodbye."})

    admission.start_queued(NOW)

    execution.refresh_from_db()
    assert "Say goodbye." in execution.batch.request.reveal()


@pytest.mark.django_db
def test_sensitive_values_are_not_sent_to_a_host_that_they_were_not_given_for(
    settings: Settings,
) -> None:
    actor = make_actor()
    own = {"provider": "openai", "model": "m"}
    endpoint = make_endpoint(actor, base_url="https://one.example/v1", **own)
    row = make_model_run(actor, endpoint=endpoint, parameters={"prompt": "a", "token": SECRET})
    endpoints.change(actor, endpoint, base_url="https://two.example/v1")

    runs.trigger(actor, row, now=NOW)
    admission.start_queued(NOW)

    execution = Execution.objects.get()
    assert execution.status == RunStatus.FAILED
    assert "Give the values again" in execution.error_message
    assert not Batch.objects.exists()


@pytest.mark.django_db
def test_parameters_whose_key_is_gone_fail_the_run_and_can_be_given_again(
    settings: Settings,
) -> None:
    row = make_model_run()
    actor = make_actor(row.user)
    settings.FIELD_ENCRYPTION_KEYS = ["another key of more than 32 characters"]
    execution = make_execution(row)

    admission.start_queued(NOW)
    shown = model_runs.shown(row)
    changed = model_runs.change(actor, row, now=NOW, parameters={"prompt": "again"})

    execution.refresh_from_db()
    assert execution.status == RunStatus.FAILED
    assert "FIELD_ENCRYPTION_KEYS" in execution.error_message
    assert shown == {}
    assert model_runs.shown(changed) == {"prompt": "again"}


@pytest.mark.django_db
def test_cancelling_stops_the_call() -> None:
    execution = make_execution()
    admission.start_queued(NOW)
    execution.refresh_from_db()

    assert runs.cancel(execution, now=NOW)

    execution.refresh_from_db()
    assert execution.status == RunStatus.CANCELLED
    assert Batch.objects.get().status == BatchStatus.CANCELLED


@pytest.mark.django_db
def test_pausing_all_pauses_model_runs_as_well() -> None:
    row = make_model_run()

    assert schedules.pause_all(now=NOW) == 1
    assert schedules.resume_all(now=NOW) == 1

    row.refresh_from_db()
    assert row.is_active


# --- What the database refuses -----------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "evaluation"},
        {"kind": "backup"},
        {"parameters": ""},
        {"schedule_type": "hourly", "cron_expression": ""},
    ],
    ids=str,
)
def test_a_model_run_is_nothing_else(fields: dict[str, Any]) -> None:
    row = make_model_run()

    with pytest.raises(IntegrityError, match="schedule_is_of_one_kind"):
        Schedule.objects.filter(pk=row.pk).update(**fields)


@pytest.mark.django_db
def test_a_model_run_has_no_suite() -> None:
    actor = make_actor()
    row = make_model_run(actor)

    with pytest.raises(IntegrityError, match="schedule_is_of_one_kind"):
        Schedule.objects.filter(pk=row.pk).update(suite=make_suite(actor))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [{"tracking_id": "trial"}, {"suite_name": "Suite"}, {"parameters": {"a": 1}}, {"total": 2}],
    ids=str,
)
def test_a_batch_of_a_request_asks_nothing_else(fields: dict[str, Any]) -> None:
    make_execution()
    admission.start_queued(NOW)

    with pytest.raises(IntegrityError, match="batch_of_a_request_asks_nothing_else"):
        Batch.objects.update(**fields)


@pytest.mark.django_db
def test_a_batch_of_a_suite_has_no_request() -> None:
    make_batch()

    with pytest.raises(IntegrityError, match="batch_of_a_request_asks_nothing_else"):
        Batch.objects.update(request="something")
