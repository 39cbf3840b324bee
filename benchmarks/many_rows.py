"""A project that has been used for long: rows by the ten thousand, a million jobs, made by SQL."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection, models

from access.actors import Actor
from access.models import ApiKey, AuditEvent, Membership, Project, User
from alerts.models import (
    AlertType,
    Attempt,
    AttemptOutcome,
    Channel,
    ChannelKind,
    Event,
    Notification,
    NotificationStatus,
)
from batches.models import (
    Agent,
    Batch,
    BatchStatus,
    Document,
    DocumentStatus,
    Job,
    ModelEndpoint,
    Provider,
    TestCase,
    TestSuite,
)
from evalsched.models import (
    ModelRun,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
    ScheduleKind,
    ScheduleType,
)
from tests.factories import make_actor

MANY = 10_000
JOBS = 1_000_000
LARGE_BATCH = 100_000
_JOBS_OF_OTHERS = (JOBS - LARGE_BATCH) // (MANY - 1)
RUNS = 100_000
# Projects, people and keys: what one team has rather than what it makes.
SOME = 200

_AT = "now() - n * interval '4 minutes'"
_ID = "uuidv7(- n * interval '4 minutes')"
_ANSWER = "repeat('The answer to that is somewhat long. ', 6)"
_SCORES = (
    """'[{"type": "contains", "metric": null, "passed": true, "score": 1.0, "weight": 1.0,"""
    """ "reason": "It contains what it should."}]'::jsonb"""
)


@dataclass(frozen=True)
class Made:
    """Whom it all belongs to, and the rows that have many others below them."""

    actor: Actor
    large_batch: Batch
    large_suite: TestSuite
    schedule: Schedule
    model_run: ModelRun
    # Two that asked about the same cases.
    two_batches: list[Batch]


def make() -> Made:
    actor = make_actor()
    own = {"project_id": f"'{actor.project.pk}'::uuid", "user_id": f"'{actor.user.pk}'::uuid"}
    _parts(own)
    _batches_and_jobs(own)
    _experiments(own)
    _schedules_and_runs(own)
    _model_runs(own)
    _people(own)
    _messages(own)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return Made(
        actor,
        Batch.objects.get(total=LARGE_BATCH),
        TestSuite.objects.get(case_count=MANY),
        Schedule.objects.get(name="Schedule 1"),
        ModelRun.objects.get(name="Model run 1"),
        list(Batch.objects.filter(name__in=["Batch 2", "Batch 3"])),
    )


def _parts(own: Mapping[str, str]) -> None:
    made = {"id": _ID, "created_at": _AT, **own}
    insert(
        ModelEndpoint,
        numbers(MANY),
        {**made, "name": "'Endpoint ' || n", "model": "'model-' || n % 50"},
        provider=Provider.DEMO,
    )
    cases = f"CASE WHEN n = 1 THEN {MANY} ELSE 1 END"
    insert(
        TestSuite,
        numbers(MANY),
        {**made, "name": "'Suite ' || n", "case_count": cases},
        version=1,
        content_hash="0" * 64,
    )
    insert(
        TestCase,
        "(SELECT id AS suite_id, n FROM batches_testsuite, generate_series(1, case_count) AS n)"
        " AS of_suites",
        {
            **made,
            "suite_id": "suite_id",
            "key": "'case-' || n",
            "position": "n",
            "prompt": "'Say ' || n || '.'",
            "tags": "CASE WHEN n % 100 = 0 THEN '{rare}'::text[] ELSE '{common}' END",
        },
        added_in=1,
        content_hash="0" * 64,
    )


def _batches_and_jobs(own: Mapping[str, str]) -> None:
    total = f"(CASE WHEN n = 1 THEN {LARGE_BATCH} ELSE {_JOBS_OF_OTHERS} END)"
    insert(
        Batch,
        f"{nth('batches_modelendpoint', 'endpoint')} JOIN {nth('batches_testsuite', 'suite')}"
        " USING (n)",
        {
            **own,
            "id": _ID,
            "created_at": _AT,
            "started_at": _AT,
            "completed_at": _AT,
            "suite_id": "suite_id",
            "endpoint_id": "endpoint_id",
            "name": "'Batch ' || n",
            "total": total,
            "done": total,
            "passed": f"{total} - {total} / 10",
            "failed": f"{total} / 10",
            "score_sum": total,
            "weight_sum": total,
        },
        status=BatchStatus.COMPLETED,
        suite_version=1,
        suite_hash="0" * 64,
        suite_name="Suite",
        model_name="Endpoint",
    )
    insert(
        Job,
        "(SELECT id AS batch_id, n FROM batches_batch, generate_series(1, total) AS n) AS calls",
        {
            **own,
            "batch_id": "batch_id",
            "case_key": "'case-' || n",
            "ordinal": "n",
            "tags": "CASE WHEN n % 100 = 0 THEN '{rare}'::text[] ELSE '{common}' END",
            "outcome": "CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'passed' END",
            "score": "CASE WHEN n % 10 = 0 THEN 0 ELSE 1 END",
            "latency_ms": "200 + n % 97",
            "cost": "0.001 * (n % 13)",
            "output": _ANSWER,
            "assertions": _SCORES,
            "started_at": "now()",
            "finished_at": "now()",
        },
        case_hash="0" * 64,
        status="done",
        attempts=1,
    )


def _experiments(own: Mapping[str, str]) -> None:
    """Each has an agent and a document of its own; every tenth has two batches and has expired."""
    again = MANY // 10
    insert(
        Batch,
        f"{numbers(MANY + again)} CROSS JOIN LATERAL"
        f" (SELECT CASE WHEN n > {MANY} THEN 10 * (n - {MANY}) ELSE n END AS of) AS experiment",
        {
            **own,
            "id": _ID,
            "created_at": _AT,
            "started_at": _AT,
            "completed_at": _AT,
            "tracking_id": "'trial-' || of",
            "description": "'What if it was told ' || of",
            "expires_at": "now() + CASE WHEN of % 10 = 0 THEN -1 ELSE of END * interval '1 hour'",
            "passed": "of % 10",
            "failed": "10 - of % 10",
        },
        status=BatchStatus.COMPLETED,
        is_ephemeral=True,
        model_name="Endpoint",
        agent_name="Trial",
        total=10,
        done=10,
    )
    of_each = "(SELECT id AS ephemeral_batch_id, row_number() OVER (ORDER BY id DESC) AS n"
    of_each += f" FROM batches_batch WHERE is_ephemeral LIMIT {MANY}) AS experiments"
    made = {**own, "id": _ID, "created_at": _AT}
    endpoint = "(SELECT id FROM batches_modelendpoint WHERE name = 'Endpoint 7')"
    # As many again belong to the project itself.
    for source, batch in ((of_each, "ephemeral_batch_id"), (numbers(MANY), "NULL::uuid")):
        belongs = {**made, "ephemeral_batch_id": batch}
        insert(Agent, source, {**belongs, "name": "'Agent ' || n", "endpoint_id": endpoint})
        insert(
            Document,
            source,
            {**belongs, "title": "'Document ' || n", "content": _ANSWER},
            status=DocumentStatus.READY,
            content_hash="0" * 64,
        )


def _schedules_and_runs(own: Mapping[str, str]) -> None:
    insert(
        Schedule,
        f"{nth('batches_modelendpoint', 'endpoint')} JOIN {nth('batches_testsuite', 'suite')}"
        " USING (n)",
        {
            **own,
            "id": _ID,
            "created_at": _AT,
            "name": "'Schedule ' || n",
            "suite_id": "suite_id",
            "endpoint_id": "endpoint_id",
            "next_run_at": "now() + n * interval '1 minute'",
            "last_run_at": _AT,
            "consecutive_failures": "CASE WHEN n % 500 = 0 THEN 1 ELSE 0 END",
        },
        schedule_type=ScheduleType.HOURLY,
        last_run_status="success",
    )
    one = "(SELECT id FROM evalsched_schedule WHERE name = 'Schedule 1')"
    # One schedule has a tenth of the runs, the others share the rest.
    of_each = f"(SELECT schedule_id, n FROM {nth('evalsched_schedule', 'schedule')},"
    of_each += f" generate_series(1, {RUNS // MANY - 1})) AS occurrences"
    for source, schedule in ((numbers(MANY), one), (of_each, "schedule_id")):
        insert(
            Run,
            source,
            {
                **own,
                "id": _ID,
                "created_at": _AT,
                "schedule_id": schedule,
                "scheduled_for": _AT,
                "triggered_at": _AT,
                "started_at": _AT,
                "completed_at": _AT,
                "status": "CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'completed' END",
                "error_message": "CASE WHEN n % 10 = 0 THEN 'It went wrong.' ELSE '' END",
            },
            status=RunStatus.COMPLETED,
            trigger=RunTrigger.MANUAL,
            total_prompts=100,
            successful_prompts=90,
            failed_prompts=10,
        )


def _model_runs(own: Mapping[str, str]) -> None:
    insert(
        ModelRun,
        nth("batches_modelendpoint", "endpoint"),
        {
            **own,
            "id": _ID,
            "created_at": _AT,
            "name": "'Model run ' || n",
            "endpoint_id": "endpoint_id",
            "next_run_at": "now() + n * interval '1 minute'",
            "last_run_at": _AT,
        },
        kind=ScheduleKind.MODEL_RUN,
        schedule_type=ScheduleType.CUSTOM,
        cron_expression="0 * * * *",
        parameters=json.dumps({"parameters": {"prompt": "Say hello."}, "origin": ""}),
        last_run_status="success",
    )
    insert(
        Run,
        numbers(MANY),
        {
            **own,
            "id": _ID,
            "created_at": _AT,
            "schedule_id": "(SELECT id FROM evalsched_schedule WHERE name = 'Model run 1')",
            "scheduled_for": _AT,
            "triggered_at": _AT,
            "started_at": _AT,
            "completed_at": _AT,
        },
        status=RunStatus.FAILED,
        trigger=RunTrigger.MANUAL,
        error_message="It went wrong.",
    )


def _people(own: Mapping[str, str]) -> None:
    made = {"id": _ID, "created_at": _AT}
    insert(User, numbers(SOME), {"id": _ID, "username": "'person' || n", "date_joined": _AT})
    insert(Project, numbers(SOME), {**made, "name": "'Project ' || n", "user_id": own["user_id"]})
    # The owner is in each of the projects, and each of the people in the owner's.
    insert(
        Membership,
        nth("access_project WHERE personal_of_id IS NULL", "project"),
        {**made, "project_id": "project_id", "user_id": own["user_id"]},
    )
    insert(
        Membership,
        nth("access_user WHERE username LIKE 'person%'", "user"),
        {**made, "project_id": own["project_id"], "user_id": "numbered_user.user_id"},
    )
    insert(
        ApiKey,
        numbers(SOME),
        {**made, **own, "name": "'Key ' || n", "prefix": "'es_' || n"},
        key_hash="0" * 64,
        scopes=["read"],
    )


def _messages(own: Mapping[str, str]) -> None:
    made = {"id": _ID, "created_at": _AT, **own}
    insert(
        AuditEvent,
        numbers(10 * MANY),
        {**made, "object_id": f"(n % {MANY})::text", "object_name": "'Suite ' || n"},
        via="session",
        action="suite.changed",
        object_type="testsuite",
    )
    insert(
        Event,
        numbers(MANY),
        {**made, "key": "n::text", "subject": "'Event ' || n", "occurred_at": _AT},
        alert_type=AlertType.EVALUATION_FAILED,
        summary="Something went wrong.",
    )
    insert(
        Notification,
        nth("alerts_event", "event"),
        {**made, "event_id": "event_id", "not_before": _AT, "sent_at": _AT},
        kind=ChannelKind.EMAIL,
        address="somebody@example.org",
        status=NotificationStatus.SENT,
        attempts=1,
    )
    insert(
        Attempt,
        nth("alerts_notification", "notification"),
        {**made, "notification_id": "notification_id", "started_at": _AT},
        number=1,
        outcome=AttemptOutcome.SENT,
    )
    insert(
        Channel,
        numbers(SOME),
        {**made, "name": "'Channel ' || n"},
        kind=ChannelKind.EMAIL,
        configuration={"address": "ops@example.org"},
    )


def numbers(count: int) -> str:
    return f"generate_series(1, {count}) AS n"


def nth(table: str, name: str) -> str:
    """Return a table of its ids as `name`_id, numbered by `n` from the newest on."""
    return (
        f"(SELECT id AS {name}_id, row_number() OVER (ORDER BY id DESC) AS n FROM {table})"
        f" AS numbered_{name}"
    )


def insert(
    model: type[models.Model], source: str, expressions: Mapping[str, str], **values: Any
) -> None:
    """Insert a row for each of `source`: columns by SQL, by value, or by the model's default."""
    columns, selected, parameters = [], [], []
    for field in model._meta.concrete_fields:
        if isinstance(field, models.AutoField):
            continue
        column = str(field.column)
        columns.append(f'"{column}"')
        if column in expressions:
            selected.append(expressions[column])
        elif getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
            selected.append("now()")
        else:
            value = values.get(column, field.get_default())
            selected.append(f"%s::{field.db_type(connection)}")
            parameters.append(field.get_db_prep_save(value, connection))
    statement = (
        f'INSERT INTO "{model._meta.db_table}" ({", ".join(columns)})'
        f" SELECT {', '.join(selected)} FROM {source}"
    )
    with connection.cursor() as cursor:
        # What is no placeholder must not look like one.
        cursor.execute(statement.replace("%", "%%").replace("%%s::", "%s::"), parameters)
