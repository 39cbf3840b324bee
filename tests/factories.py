"""Rows for tests, made as the service makes them. Every argument may be left out."""

import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction

from access import keys, projects
from access.actors import ALL_SCOPES, Actor
from access.models import ApiKey, Membership, Project, Role, Scope, User
from alerts import directory, history, notifications, partitions, preferences, rulebook, traces
from alerts.models import (
    AlertType,
    Attempt,
    AttemptOutcome,
    Channel,
    ChannelKind,
    Event,
    Notification,
    Preference,
    Trace,
)
from alerts.rule_models import Alert, AlertRule, Health, RuleEvaluation, RuleState, RuleStatus
from alerts.trace_models import TraceSource, TraceStatus
from alerts.traces import Span
from batches import agents, batches, documents, endpoints, experiments, suites
from batches.batches import Config
from batches.cases import CaseDraft, draft
from batches.documents import Draft
from batches.experiments import Plan
from batches.models import Agent, Batch, Document, Job, ModelEndpoint, Provider, TestSuite
from evalsched import model_runs, schedules, snapshots
from evalsched.models import Execution, ModelRun, Run, RunStatus, RunTrigger, Schedule

# A Wednesday.
NOW = datetime(2025, 1, 15, 10, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def make_user(username: str = "", *, superuser: bool = False, **fields: Any) -> User:
    """Make a person without a password: tests log in by force, and hashing one is slow."""
    name = username or f"user{next(_numbers)}"
    fields = {"email": f"{name}@example.org"} | fields
    user = User(username=name, is_staff=superuser, is_superuser=superuser, **fields)
    user.set_unusable_password()
    user.save(force_insert=True)
    return user


def make_project(user: User | None = None, *, name: str = "Shared") -> Project:
    """Make a shared project whose admin is `user`."""
    return projects.create(make_actor(user), name=name)


def make_member(
    project: Project | None = None, *, user: User | None = None, role: Role = Role.EDITOR
) -> Membership:
    return Membership.objects.create(
        project=project or make_project(), user=user or make_user(), role=role
    )


def make_actor(
    user: User | None = None,
    *,
    project: Project | None = None,
    role: Role = Role.ADMIN,
    scopes: frozenset[Scope] = ALL_SCOPES,
    via: str = "command",
) -> Actor:
    """Make somebody who acts in `project`, their personal one where it is left out."""
    user = user or make_user()
    own = project or projects.personal_of(user)
    return Actor(user=user, project=own, role=role, scopes=scopes, via=via)


def make_key(
    actor: Actor | None = None,
    *,
    scopes: Sequence[str] = ("read", "write"),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for the actor's project; the text is what a client sends."""
    return keys.create(
        actor or make_actor(), name="for tests", scopes=scopes, now=NOW, expires_at=expires_at
    )


def make_endpoint(actor: Actor | None = None, **fields: Any) -> ModelEndpoint:
    wanted = {"name": f"Endpoint {next(_numbers)}", "provider": Provider.DEMO, "model": "demo"}
    return endpoints.create(actor or make_actor(), **(wanted | fields))


def make_case_draft(number: int = 1, **fields: Any) -> CaseDraft:
    """Make a case that passes when the answer holds its number."""
    wanted = {
        "key": f"case-{number}",
        "prompt": f"Say {number}.",
        "assertions": [{"type": "contains", "value": str(number)}],
    }
    return draft(wanted | fields)


def make_suite(
    actor: Actor | None = None, *, cases: int | Sequence[CaseDraft] = 3, **fields: Any
) -> TestSuite:
    """Make a suite with that many cases, or with those."""
    actor = actor or make_actor()
    suite = suites.create(actor, **({"name": f"Suite {next(_numbers)}"} | fields))
    drafts = (
        [make_case_draft(number) for number in range(1, cases + 1)]
        if isinstance(cases, int)
        else cases
    )
    if drafts:
        suites.put(actor, suite, drafts)
        suite.refresh_from_db()
    return suite


def make_batch(
    actor: Actor | None = None,
    *,
    suite: TestSuite | None = None,
    endpoint: ModelEndpoint | None = None,
    now: datetime = NOW,
    deadline_at: datetime | None = None,
    agent: Agent | None = None,
    **config: Any,
) -> Batch:
    """Make a pending batch with its jobs; `config` holds fields of `batches.Config`."""
    actor = actor or make_actor()
    return batches.create(
        user_id=actor.user.pk,
        suite=suite or make_suite(actor),
        endpoint=endpoint or make_endpoint(actor),
        agent=agent,
        config=Config(**config),
        now=now,
        deadline_at=deadline_at,
    )


def make_agent(actor: Actor | None = None, **fields: Any) -> Agent:
    actor = actor or make_actor()
    wanted = {"name": f"Agent {next(_numbers)}", "primary_instructions": "Answer briefly."}
    endpoint = fields.pop("endpoint", None) or make_endpoint(actor)
    return agents.create(actor, endpoint=endpoint, **(wanted | fields))


def make_document(actor: Actor | None = None, **fields: Any) -> Document:
    number = next(_numbers)
    wanted = {"title": f"Document {number}", "content": f"Text {number}."}
    return documents.create(actor or make_actor(), Draft(**(wanted | fields)))


def make_experiment(
    actor: Actor | None = None,
    *,
    tracking_id: str = "",
    documents: int = 2,
    endpoint: ModelEndpoint | None = None,
    now: datetime = NOW,
    days: int = 7,
) -> Batch:
    """Make an ephemeral batch with an agent and documents of its own."""
    actor = actor or make_actor()
    plan = Plan(
        tracking_id=tracking_id or f"trial-{next(_numbers)}",
        is_ephemeral=True,
        expires_in_days=days,
        agent={"name": "Trial", "primary_instructions": "Summarise."},
        documents=[Draft(f"Page {number}", f"Text {number}.") for number in range(documents)],
    )
    return experiments.create(
        actor, plan, endpoint=endpoint or make_endpoint(actor), config=Config(), now=now
    )


def make_job(batch: Batch | None = None) -> Job:
    """Return the first job of the batch."""
    return Job.objects.filter(batch=batch or make_batch())[0]


def make_schedule(
    actor: Actor | None = None,
    *,
    suite: TestSuite | None = None,
    endpoint: ModelEndpoint | None = None,
    agent: Agent | None = None,
    now: datetime = NOW,
    **fields: Any,
) -> Schedule:
    """Make an hourly schedule; made at NOW it is due at 11:00 of that day."""
    actor = actor or make_actor()
    wanted: dict[str, Any] = {"name": f"Schedule {next(_numbers)}", "schedule_type": "hourly"}
    if agent is None:
        wanted["endpoint"] = endpoint or make_endpoint(actor)
    return schedules.create(
        actor, now=now, suite=suite or make_suite(actor), agent=agent, **(wanted | fields)
    )


def make_model_run(
    actor: Actor | None = None,
    *,
    endpoint: ModelEndpoint | None = None,
    now: datetime = NOW,
    **fields: Any,
) -> ModelRun:
    """Make an hourly scheduled model run with a prompt; made at NOW it is due at 11:00."""
    actor = actor or make_actor()
    wanted = {"cron_expression": "0 * * * *", "parameters": {"prompt": "Say hello."}}
    return model_runs.create(
        actor, now=now, endpoint=endpoint or make_endpoint(actor), **(wanted | fields)
    )


def make_execution(model_run: ModelRun | None = None, **fields: Any) -> Execution:
    """Make an execution as the row it is, waiting unless `status` says otherwise."""
    made = make_run(model_run or make_model_run(), **fields)
    return Execution.objects.get(pk=made.pk)


def make_run(
    schedule: Schedule | None = None, *, scheduled_for: datetime = NOW, **fields: Any
) -> Run:
    """Make a run as the row it is, waiting unless `status` says otherwise."""
    schedule = schedule or make_schedule()
    wanted = {
        "trigger": RunTrigger.MANUAL,
        "triggered_at": scheduled_for,
        "snapshot": snapshots.of(schedule),
        **_dates_of(fields.get("status", RunStatus.TRIGGERED), scheduled_for),
    }
    if fields.get("trigger") == RunTrigger.BACKFILL:
        wanted["backfill_id"] = uuid.uuid4()
    run = Run(
        project_id=schedule.project_id,
        user_id=schedule.user_id,
        schedule=schedule,
        scheduled_for=scheduled_for,
        **(wanted | fields),
    )
    run.save(force_insert=True)
    return run


def make_event(actor: Actor | None = None, **fields: Any) -> Event:
    actor = actor or make_actor()
    wanted: dict[str, Any] = {
        "alert_type": AlertType.EVALUATION_FAILED,
        "key": str(uuid.uuid4()),
        "subject": "Evaluation failed",
        "summary": "Something went wrong.",
        "occurred_at": NOW,
    }
    event = Event(project=actor.project, user=actor.user, **(wanted | fields))
    event.save(force_insert=True)
    return event


def make_notification(event: Event | None = None, **fields: Any) -> Notification:
    event = event or make_event()
    channel: Channel | None = fields.get("channel")
    wanted = {"kind": ChannelKind.EMAIL, "address": event.user.email, "not_before": NOW}
    if channel is not None:
        address = notifications.shown_address(channel)
        wanted |= {"kind": channel.kind, "target": str(channel.pk), "address": address}
    notification = Notification(
        project_id=event.project_id, user_id=event.user_id, event=event, **(wanted | fields)
    )
    notification.save(force_insert=True)
    return notification


def make_span(number: int = 1, *, ended_at: datetime = NOW, **fields: Any) -> Span:
    """Make a span of 100 ms; `number` makes it another one."""
    wanted: dict[str, Any] = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "parent_span_id": "",
        "span_name": "chat demo",
        "operation": "chat",
        "model": "demo",
        "model_requested": "",
        "provider": "demo",
        "status": TraceStatus.SUCCESS,
        "error_type": "",
        "latency_ms": 100.0,
        "ttft_ms": None,
        "input_tokens": None,
        "cached_tokens": None,
        "output_tokens": None,
        "total_tokens": None,
        "cost": None,
        "cost_source": "",
        "attributes": {},
    }
    wanted |= fields
    length = timedelta(milliseconds=wanted["latency_ms"])
    return Span(**({"started_at": ended_at - length, "ended_at": ended_at} | wanted))


def store_spans(
    actor: Actor,
    spans: Sequence[Span],
    *,
    now: datetime | None = None,
    source: TraceSource = TraceSource.INGEST,
) -> int:
    """Store spans of any day; `now` is when they came, at the end of the last one if left out."""
    partitions.make(traces.TABLE, {span.ended_at.date() for span in spans})
    now = now or max(span.ended_at for span in spans)
    with transaction.atomic():
        return traces.store(actor.project.pk, actor.user.pk, spans, now=now, source=source)


def make_trace(actor: Actor | None = None, **fields: Any) -> Trace:
    actor = actor or make_actor()
    span = make_span(next(_numbers), **fields)
    store_spans(actor, [span])
    return Trace.objects.get(project=actor.project, span_id=span.span_id)


def make_rule(actor: Actor | None = None, *, now: datetime = NOW, **fields: Any) -> AlertRule:
    """Make a rule that fires where a span of the last five minutes took longer than 500 ms."""
    partitions.make(history.TABLE, {now.date(), now.date() + timedelta(days=1)})
    wanted = {
        "rule_name": f"Rule {next(_numbers)}",
        "metric_type": "latency",
        "aggregation_method": "max",
        "comparison_operator": ">",
        "threshold_value": Decimal(500),
        "time_window_minutes": 5,
    }
    return rulebook.create(actor or make_actor(), now=now, **(wanted | fields))


def make_alert(rule: AlertRule | None = None, **fields: Any) -> Alert:
    """Make an open episode, with the state that goes with it."""
    rule = rule or make_rule()
    own = {"project_id": rule.project_id, "user_id": rule.user_id, "rule": rule}
    RuleState(state=RuleStatus.FIRING, **own).save(force_insert=True)
    alert = Alert(**(own | {"severity": rule.severity, "started_at": NOW} | fields))
    alert.save(force_insert=True)
    return alert


def make_evaluation(rule: AlertRule | None = None, **fields: Any) -> RuleEvaluation:
    rule = rule or make_rule()
    wanted = {
        "first_minute": NOW,
        "last_minute": NOW,
        "threshold_value": 500,
        "window_minutes": 5,
        "sample_count": 1,
        "metric_value": 100,
        "triggered": False,
        "state": RuleStatus.INACTIVE,
        "health": Health.OK,
        "evaluated_at": NOW,
    }
    row = RuleEvaluation(
        project_id=rule.project_id, user_id=rule.user_id, rule_id=rule.pk, **(wanted | fields)
    )
    row.save(force_insert=True)
    return row


def make_channel(actor: Actor | None = None, **fields: Any) -> Channel:
    """Make a channel: a webhook where there is a `url` and no `kind`, else a mail address."""
    url = fields.pop("url", "")
    wanted = {
        "kind": ChannelKind.WEBHOOK if url else ChannelKind.EMAIL,
        "name": f"Channel {next(_numbers)}",
        "configuration": {"url": url} if url else {"address": "ops@example.org"},
    }
    channel, _ = directory.create(actor or make_actor(), **(wanted | fields))
    return channel


def make_attempt(notification: Notification | None = None, **fields: Any) -> Attempt:
    notification = notification or make_notification()
    wanted = {"number": 1, "outcome": AttemptOutcome.SENT, "started_at": NOW}
    attempt = Attempt(
        project_id=notification.project_id,
        user_id=notification.user_id,
        notification=notification,
        **(wanted | fields),
    )
    attempt.save(force_insert=True)
    return attempt


def make_preference(actor: Actor | None = None, **fields: Any) -> Preference:
    wanted: dict[str, Any] = {
        "alert_type": AlertType.EVALUATION_FAILED,
        "channel": ChannelKind.EMAIL,
        "enabled": False,
    }
    return preferences.put(actor or make_actor(), **(wanted | fields))


def _dates_of(status: str, at: datetime) -> dict[str, Any]:
    """Return what the database's constraints want of a run in that status."""
    match status:
        case RunStatus.TRIGGERED:
            return {}
        case RunStatus.RUNNING:
            return {"started_at": at, "deadline_at": at + timedelta(minutes=10)}
        case RunStatus.FAILED:
            return {"started_at": at, "completed_at": at, "error_message": "It went wrong."}
        case _:
            return {"started_at": at, "completed_at": at}
