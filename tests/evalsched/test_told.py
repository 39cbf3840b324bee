"""Every type of alert that people may choose: raised by what it is named for, and told by mail."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from access.actors import Actor
from alerts import directory, evaluations
from alerts.deliveries import deliver
from alerts.models import (
    NOT_RAISED,
    OFF_BY_DEFAULT,
    AlertType,
    Anomaly,
    Event,
    Notification,
)
from batches import batches
from batches.models import Batch, BatchStatus, Job, JobStatus
from evalsched import admission, outages, runs, schedules
from evalsched.models import RunStatus, RunTrigger
from tests.alerts.mail_server import MailServer
from tests.evalsched.compared_runs import bring_results, make_completed
from tests.factories import (
    NOW,
    make_actor,
    make_batch,
    make_channel,
    make_execution,
    make_model_run,
    make_preference,
    make_rule,
    make_run,
    make_schedule,
    make_span,
    make_suite,
    make_user,
    store_spans,
)

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def executed(actor: Actor, *, broken: bool = False) -> None:
    execution = make_execution(make_model_run(actor))
    admission.start_queued(NOW)
    execution.refresh_from_db()
    assert execution.batch_id is not None
    bring_results(execution.batch_id, NOW, broken={1} if broken else ())
    runs.settle(execution.batch_id, now=NOW)


def started(actor: Actor) -> None:
    make_execution(make_model_run(actor))
    admission.start_queued(NOW)


def batch_ended(actor: Actor, status: BatchStatus) -> None:
    batch = make_batch(actor)
    Batch.objects.filter(pk=batch.pk).update(done=3, passed=3)
    Job.objects.filter(batch=batch).update(status=JobStatus.NOT_RUN)
    batch.refresh_from_db()
    batches.finish(batch, status, now=NOW, error_message="why")


def failed(actor: Actor) -> None:
    schedule = make_schedule(actor)
    run = make_run(schedule, scheduled_for=NOW, trigger=RunTrigger.SCHEDULE)
    admission.start_queued(NOW)
    run.refresh_from_db()
    assert run.batch_id is not None
    batches.finish(run.batch, BatchStatus.FAILED, now=NOW, error_message="401: key refused.")
    runs.settle(run.batch_id, now=NOW)
    run.refresh_from_db()
    assert run.status == RunStatus.FAILED


def regressed(actor: Actor) -> None:
    schedule = make_schedule(actor, suite=make_suite(actor, cases=40))
    make_completed(schedule)
    make_completed(schedule, hours=1, wrong=range(1, 16))


def fired(actor: Actor, **rule: Any) -> None:
    make_rule(actor, time_window_minutes=1, **rule)
    span = {"ttft_ms": 900.0, "total_tokens": 5000, "cost": Decimal(2), "latency_ms": 900.0}
    store_spans(actor, [make_span(1, ended_at=NOW + MINUTE / 2, status="error", **span)])
    evaluations.evaluate_project(actor.project.pk, at=NOW + MINUTE, now=NOW + MINUTE)


def unusual(actor: Actor, severity: int) -> None:
    make_rule(actor, metric_type="anomaly_severity", threshold_value=Decimal(2))
    found = Anomaly(project=actor.project, minute=NOW, metric_type="latency", severity=severity)
    found.save(force_insert=True)
    evaluations.evaluate_project(actor.project.pk, at=NOW + MINUTE, now=NOW + MINUTE)


def crowded(actor: Actor) -> None:
    """More groups than a rule may have, for three minutes."""
    make_rule(actor, group_by="model")
    spans = [make_span(n, ended_at=NOW + MINUTE / 2, model=f"m{n}") for n in range(101)]
    store_spans(actor, spans)
    for minute in (1, 2, 3):
        at = NOW + minute * MINUTE
        evaluations.evaluate_project(actor.project.pk, at=at, now=at)


def stood_still(actor: Actor) -> None:
    actor.user.is_superuser = True
    actor.user.save()
    outages.follow("The last tick was 90 s ago.", now=NOW)


CAUSES: dict[AlertType, Callable[[Actor], object]] = {
    AlertType.JOB_STARTED: started,
    AlertType.JOB_COMPLETED: executed,
    AlertType.JOB_FAILED: lambda actor: executed(actor, broken=True),
    AlertType.BATCH_COMPLETED: lambda actor: batch_ended(actor, BatchStatus.COMPLETED),
    AlertType.BATCH_FAILED: lambda actor: batch_ended(actor, BatchStatus.FAILED),
    AlertType.EVALUATION_FAILED: failed,
    AlertType.EVALUATION_REGRESSION: regressed,
    AlertType.SCHEDULE_DISABLED: lambda actor: schedules.disable(
        make_schedule(actor), "3 runs failed.", now=NOW
    ),
    AlertType.TRACE_LATENCY_HIGH: fired,
    AlertType.TRACE_ERROR_RATE_HIGH: lambda actor: fired(
        actor, metric_type="error_rate", aggregation_method="avg", threshold_value=Decimal(5)
    ),
    AlertType.TRACE_COST_HIGH: lambda actor: fired(
        actor, metric_type="cost", aggregation_method="sum", threshold_value=Decimal(1)
    ),
    AlertType.TRACE_THROUGHPUT_LOW: lambda actor: fired(
        actor,
        metric_type="throughput",
        aggregation_method="count",
        comparison_operator="<",
        threshold_value=Decimal(5),
    ),
    AlertType.TRACE_TTFT_HIGH: lambda actor: fired(actor, metric_type="ttft"),
    AlertType.TOKEN_USAGE_HIGH: lambda actor: fired(actor, metric_type="token_usage"),
    AlertType.ANOMALY_HIGH: lambda actor: unusual(actor, 3),
    AlertType.ANOMALY_CRITICAL: lambda actor: unusual(actor, 4),
    AlertType.RULE_ERROR: crowded,
    AlertType.SCHEDULER_UNHEALTHY: stood_still,
    AlertType.CHANNEL_DISABLED: lambda actor: directory.disable(
        make_channel(actor), "It answered 410.", now=NOW
    ),
}


@pytest.fixture
def mailbox(settings: Settings) -> Any:
    with MailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.PUBLIC_URL = "https://evals.example"
        yield server


def test_all_that_may_be_chosen_are_raised_and_nothing_else_is_offered() -> None:
    assert set(CAUSES) == set(AlertType) - NOT_RAISED - {AlertType.CHANNEL_TEST}


@pytest.mark.parametrize("alert_type", CAUSES)
def test_it_is_raised_once_and_mailed_as_text_and_html(
    alert_type: AlertType, mailbox: MailServer
) -> None:
    actor = make_actor(make_user())
    if alert_type in OFF_BY_DEFAULT:
        make_preference(actor, alert_type=alert_type, enabled=True)

    CAUSES[alert_type](actor)

    event = Event.objects.get(alert_type=alert_type)
    told = Notification.objects.get(event=event, target=Notification.AUTHOR)
    assert (event.user, told.address) == (actor.user, actor.user.email)
    deliver(told.pk, now=told.not_before)
    (mail,) = mailbox.mails
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert mail["Subject"] == event.subject
    for label, value in event.facts:
        assert f"{label}: {value}" in text.get_content()
        assert label in html.get_content()
    assert f"https://evals.example{event.path}" in text.get_content()
    assert f'href="https://evals.example{event.path}"' in html.get_content()


def test_good_news_of_model_runs_is_for_those_who_ask() -> None:
    executed(make_actor())

    assert set(Event.objects.values_list("alert_type", flat=True)) == {
        "job_started",
        "job_completed",
    }
    assert not Notification.objects.exists()


def test_an_execution_of_an_evaluation_is_no_job() -> None:
    actor = make_actor()
    make_completed(make_schedule(actor, suite=make_suite(actor, cases=1)))

    assert not Event.objects.filter(alert_type__startswith="job_").exists()
