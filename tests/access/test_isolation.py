"""The database's half of isolation: what PostgreSQL holds, whatever the queries above it say."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.test.utils import isolate_apps

from access import audit, idempotency
from access.actors import Actor
from access.ids import uuid7
from access.isolation import API_ROLE, acting_in
from access.models import ApiKey, AuditEvent, IdempotencyKey, Membership, Owned, Project, Role
from alerts import rollups
from alerts.models import (
    Alert,
    AlertRule,
    Anomaly,
    Attempt,
    Channel,
    DirtyMinute,
    EvaluationPass,
    Event,
    LateArrival,
    Notification,
    Preference,
    Rollup,
    RuleEvaluation,
    RuleState,
    Trace,
)
from batches import experiments
from batches.models import (
    Agent,
    Batch,
    Document,
    Job,
    ModelEndpoint,
    TestCase,
    TestSuite,
    Tombstone,
)
from evalsched.models import Run, Schedule
from tests.factories import (
    NOW,
    make_actor,
    make_agent,
    make_alert,
    make_attempt,
    make_batch,
    make_channel,
    make_document,
    make_endpoint,
    make_evaluation,
    make_event,
    make_experiment,
    make_job,
    make_key,
    make_member,
    make_notification,
    make_preference,
    make_rule,
    make_run,
    make_schedule,
    make_suite,
    make_trace,
)

pytestmark = pytest.mark.django_db


def _make_audit_event(actor: Actor) -> AuditEvent:
    audit.record(actor, "test.happened", actor.project)
    return AuditEvent.objects.filter(project=actor.project)[0]


def _make_idempotency_key(actor: Actor) -> IdempotencyKey:
    answer = idempotency.Answer(202, {})
    idempotency.once(actor, route="r", key="k", body=b"", now=NOW, work=lambda: answer)
    return IdempotencyKey.objects.filter(project=actor.project)[0]


def _make_tombstone(actor: Actor) -> Tombstone:
    batch = make_experiment(actor)
    experiments.delete(actor, batch.tracking_id, cancel=True, now=NOW)
    return Tombstone.objects.get(batch_id=batch.pk)


def _make_dirty_minute(actor: Actor) -> DirtyMinute:
    make_trace(actor)
    return DirtyMinute.objects.filter(project=actor.project)[0]


def _make_rollup(actor: Actor) -> Rollup:
    make_trace(actor)
    later = NOW + timedelta(minutes=1)
    rollups.pack(actor.project.pk, before=later, judged=None, now=later)
    return Rollup.objects.get(project=actor.project)


def _make_late_arrival(actor: Actor) -> LateArrival:
    row = LateArrival(project=actor.project, minute=NOW, packed_at=NOW, count=1)
    row.save(force_insert=True)
    return row


def _make_anomaly(actor: Actor) -> Anomaly:
    row = Anomaly(project=actor.project, minute=NOW, metric_type="latency", severity=1)
    row.save(force_insert=True)
    return row


def _make_pass(actor: Actor) -> EvaluationPass:
    row = EvaluationPass(
        project=actor.project, minute=NOW, status=EvaluationPass.Status.SKIPPED, evaluated_at=NOW
    )
    row.save(force_insert=True)
    return row


MAKE: dict[type[models.Model], Callable[[Actor], models.Model]] = {
    Agent: make_agent,
    Alert: lambda actor: make_alert(make_rule(actor)),
    AlertRule: make_rule,
    Anomaly: _make_anomaly,
    ApiKey: lambda actor: make_key(actor)[0],
    Attempt: lambda actor: make_attempt(make_notification(make_event(actor))),
    AuditEvent: _make_audit_event,
    Batch: make_batch,
    Document: make_document,
    DirtyMinute: _make_dirty_minute,
    EvaluationPass: _make_pass,
    Channel: make_channel,
    Event: make_event,
    IdempotencyKey: _make_idempotency_key,
    Job: lambda actor: make_job(make_batch(actor)),
    LateArrival: _make_late_arrival,
    Membership: lambda actor: Membership.objects.get(project=actor.project, user=actor.user),
    ModelEndpoint: make_endpoint,
    Notification: lambda actor: make_notification(make_event(actor)),
    Rollup: _make_rollup,
    RuleEvaluation: lambda actor: make_evaluation(make_rule(actor)),
    RuleState: lambda actor: make_alert(make_rule(actor)).rule.states.all()[0],
    Preference: make_preference,
    Run: lambda actor: make_run(make_schedule(actor), batch=make_batch(actor)),
    Schedule: make_schedule,
    TestCase: lambda actor: make_suite(actor).cases.all()[0],
    TestSuite: make_suite,
    Tombstone: _make_tombstone,
    Trace: make_trace,
}


def owned_models() -> list[type[models.Model]]:
    """Return every model with a `project_id`; proxies are other views of the same tables."""
    return [
        model
        for model in apps.get_models()
        if not model._meta.proxy
        and any(field.attname == "project_id" for field in model._meta.concrete_fields)
    ]


def owned_keys(model: type[models.Model]) -> list[Any]:
    """Return the model's foreign keys to other owned tables."""
    return [
        field
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey)
        and any(own.attname == "project_id" for own in field.related_model._meta.concrete_fields)
    ]


def flaws(model: type[models.Model]) -> list[str]:
    """Return what the database lacks for the rows of `model` to be safe, in sentences."""
    table = model._meta.db_table
    found = []
    if not _value("SELECT relrowsecurity FROM pg_class WHERE oid = %s::regclass", f'"{table}"'):
        found.append(f"{table} has no row-level security.")
    if not _value(
        "SELECT count(*) FROM pg_policies WHERE tablename = %s AND roles = ARRAY[%s]::name[]"
        " AND cmd = 'ALL' AND qual ~ 'evalsched\\.(project|user)_id'"
        " AND with_check ~ 'evalsched\\.(project|user)_id'",
        table,
        API_ROLE,
    ):
        found.append(f"{table} has no policy for what the API reads and writes.")
    found += [
        f"{table}.{field.column} has no foreign key over (project_id, {field.column})."
        for field in owned_keys(model)
        if not _has_composite_key(table, field)
    ]
    return found


def _has_composite_key(table: str, field: Any) -> bool:
    return bool(
        _value(
            """
            SELECT count(*) FROM pg_constraint c
            WHERE contype = 'f' AND convalidated AND conrelid = %s::regclass
                AND confrelid = %s::regclass
                AND (SELECT array_agg(attname ORDER BY ordinality) FROM unnest(conkey)
                    WITH ORDINALITY JOIN pg_attribute ON attrelid = conrelid AND attnum = unnest)
                    = ARRAY['project_id', %s]::name[]
                AND (SELECT array_agg(attname ORDER BY ordinality) FROM unnest(confkey)
                    WITH ORDINALITY JOIN pg_attribute ON attrelid = confrelid AND attnum = unnest)
                    = ARRAY['project_id', 'id']::name[]
            """,
            f'"{table}"',
            f'"{field.related_model._meta.db_table}"',
            field.column,
        )
    )


def _value(sql: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
        return row[0] if row else None


def _role() -> tuple[str, str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, coalesce(current_setting('evalsched.project_id', true), ''),"
            " coalesce(current_setting('evalsched.user_id', true), '')"
        )
        role, project_id, user_id = cursor.fetchone()
    return role, project_id, user_id


@pytest.fixture
def mine() -> Actor:
    return make_actor()


@pytest.fixture
def theirs() -> Actor:
    return make_actor()


# --- What the catalogue says -----------------------------------------------------------------


@pytest.mark.parametrize("model", owned_models(), ids=lambda model: model.__name__)
def test_every_owned_table_is_held_by_the_database(model: type[models.Model]) -> None:
    assert flaws(model) == []


def test_projects_themselves_have_row_level_security() -> None:
    assert flaws(Project) == []


@isolate_apps("batches")
def test_a_new_owned_table_without_its_operation_is_found() -> None:
    class Forgotten(Owned):
        suite = models.ForeignKey(TestSuite, models.DO_NOTHING, db_constraint=False)

        class Meta:
            app_label = "batches"

    with connection.schema_editor(atomic=False) as editor:
        editor.create_model(Forgotten)

    assert flaws(Forgotten) == [
        "batches_forgotten has no row-level security.",
        "batches_forgotten has no policy for what the API reads and writes.",
        "batches_forgotten.suite_id has no foreign key over (project_id, suite_id).",
    ]


def test_the_api_reaches_no_table_without_row_level_security() -> None:
    """Grants on columns of the people's table are the one exception: without the hash."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, relrowsecurity FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
            " AND has_table_privilege(%s, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE,"
            " REFERENCES, TRIGGER')",
            [API_ROLE],
        )
        reachable = dict(cursor.fetchall())

    assert reachable
    assert [table for table, secured in reachable.items() if not secured] == []


def test_the_api_may_only_read_rows_and_write_rows() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT privilege_type FROM information_schema.role_table_grants"
            " WHERE grantee = %s",
            [API_ROLE],
        )
        granted = {row[0] for row in cursor.fetchall()}

    assert granted == {"SELECT", "INSERT", "UPDATE", "DELETE"}


@pytest.mark.parametrize("privilege", ["UPDATE", "DELETE", "TRUNCATE"])
def test_the_api_may_not_rewrite_the_audit_trail(privilege: str) -> None:
    table = AuditEvent._meta.db_table
    assert not _value("SELECT has_table_privilege(%s, %s, %s)", API_ROLE, table, privilege)


def test_the_api_may_not_read_password_hashes() -> None:
    allowed = _value(
        "SELECT has_column_privilege(%s, 'access_user', 'password', 'SELECT')", API_ROLE
    )
    assert allowed is False


def test_neither_role_steps_over_row_level_security_by_rank() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin FROM pg_roles"
            " WHERE rolname IN (%s, current_user)",
            [API_ROLE],
        )
        roles = {name: flags for name, *flags in cursor.fetchall()}

    assert roles.pop(API_ROLE) == [False, False, False]
    ((_, (is_super, bypasses, _)),) = roles.items()
    assert (is_super, bypasses) == (False, False)


# --- What the database refuses ---------------------------------------------------------------


def test_every_owned_model_has_a_maker_here() -> None:
    assert set(owned_models()) == set(MAKE), "Add the model to MAKE, so that it is tested below."


# Of two keys of which a row has one.
INSTEAD_OF: dict[tuple[type[models.Model], str], dict[str, None]] = {
    (Schedule, "agent"): {"endpoint_id": None},
}


@pytest.mark.parametrize(
    ("model", "field"),
    [(model, field) for model in owned_models() for field in owned_keys(model)],
    ids=lambda part: part.__name__ if isinstance(part, type) else part.name,
)
def test_a_row_cannot_point_at_another_projects_row(
    model: type[models.Model], field: Any, mine: Actor, theirs: Actor
) -> None:
    """As the owner, who sees all: the worker would otherwise follow it."""
    row, target = MAKE[model](mine), MAKE[field.related_model](theirs)
    # Nothing of theirs is in the way of the unique keys.
    model._default_manager.filter(project=theirs.project)._raw_delete("default")

    with pytest.raises(IntegrityError, match="in_project"), transaction.atomic():
        model._default_manager.filter(pk=row.pk).update(
            **{field.attname: target.pk} | INSTEAD_OF.get((model, field.name), {})
        )


@pytest.mark.parametrize("model", owned_models(), ids=lambda model: model.__name__)
def test_in_my_project_theirs_is_neither_seen_nor_changed(
    model: type[models.Model], mine: Actor, theirs: Actor
) -> None:
    own, foreign = MAKE[model](mine), MAKE[model](theirs)
    rows = model._default_manager

    with acting_in(mine.project.pk, mine.user.pk):
        seen = set(rows.values_list("pk", flat=True))
        changed = _attempt(lambda: rows.filter(pk=foreign.pk).update(project_id=mine.project.pk))
        removed = _attempt(lambda: rows.filter(pk=foreign.pk)._raw_delete(using="default"))

    assert own.pk in seen
    assert foreign.pk not in seen
    for result in (changed, removed):
        assert result == 0 or "permission denied" in str(result)
    assert rows.filter(pk=foreign.pk, project_id=theirs.project.pk).exists()


def _attempt(write: Callable[[], int]) -> int | str:
    """Return how many rows were written, or what the database says instead."""
    try:
        with transaction.atomic():
            return write()
    except DatabaseError as error:
        return str(error)


@pytest.mark.parametrize("model", owned_models(), ids=lambda model: model.__name__)
def test_in_my_project_no_row_can_be_put_into_theirs(
    model: type[models.Model], mine: Actor, theirs: Actor
) -> None:
    row = MAKE[model](theirs)
    row.pk = None if isinstance(row._meta.pk, models.BigAutoField) else uuid7()
    row._state.adding = True

    with (
        acting_in(mine.project.pk, mine.user.pk),
        pytest.raises(DatabaseError, match=r"row-level security|permission denied"),
        transaction.atomic(),
    ):
        row.save(force_insert=True)


def test_nobody_lets_themselves_into_a_project_or_up_its_ranks(mine: Actor, theirs: Actor) -> None:
    guest = make_member(theirs.project, user=mine.user, role=Role.VIEWER)

    inside = acting_in(mine.project.pk, mine.user.pk)
    with pytest.raises(DatabaseError, match="row-level security"), inside:
        Membership.objects.filter(pk=guest.pk).update(role=Role.ADMIN)
    guest.delete()
    inside = acting_in(mine.project.pk, mine.user.pk)
    with pytest.raises(DatabaseError, match="row-level security"), inside:
        Membership(project=theirs.project, user=mine.user, role=Role.ADMIN).save(force_insert=True)


def test_what_a_colleague_prefers_is_seen_and_neither_changed_nor_taken(mine: Actor) -> None:
    colleague = make_actor(make_member(mine.project).user, project=mine.project)
    rows = Preference.objects.filter(pk=make_preference(colleague).pk)

    with acting_in(mine.project.pk, mine.user.pk):
        seen = rows.count()
        changed = _attempt(lambda: rows.update(enabled=True))
        taken = _attempt(lambda: rows.update(user_id=mine.user.pk))
        removed = _attempt(lambda: rows._raw_delete(using="default"))
        written = _attempt(lambda: make_preference(colleague, channel="slack") is None)

    assert (seen, changed, taken, removed) == (1, 0, 0, 0)
    assert "row-level security" in str(written)


def test_outside_of_any_project_the_api_sees_nothing(mine: Actor) -> None:
    MAKE[Run](mine)

    with acting_in(uuid7(), uuid7()):
        seen = {model.__name__: model._default_manager.count() for model in owned_models()}

    assert set(seen.values()) == {0}


def test_deleting_a_suite_keeps_what_its_batches_found(mine: Actor) -> None:
    batch = make_batch(mine)

    TestSuite.objects.filter(project=mine.project).delete()

    batch.refresh_from_db()
    assert (batch.suite_id, batch.project_id) == (None, mine.project.pk)
    assert Job.objects.filter(batch=batch, case=None).count() == batch.total
    assert not TestCase.objects.filter(project=mine.project).exists()


@pytest.mark.parametrize("used", ["suite", "endpoint"])
def test_the_database_keeps_what_a_schedule_uses(used: str, mine: Actor) -> None:
    schedule = make_schedule(mine)

    with pytest.raises(IntegrityError), transaction.atomic():
        getattr(schedule, used).delete()


# --- Taking the role on and off --------------------------------------------------------------


def test_acting_in_takes_the_role_on_and_puts_it_back(mine: Actor) -> None:
    before = _role()

    with acting_in(mine.project.pk, mine.user.pk):
        inside = _role()

    assert inside == (API_ROLE, str(mine.project.pk), str(mine.user.pk))
    assert _role() == before
    assert before[0] != API_ROLE


def test_an_exception_puts_the_role_back(mine: Actor) -> None:
    before = _role()

    with pytest.raises(ZeroDivisionError), acting_in(mine.project.pk, mine.user.pk):
        raise ZeroDivisionError

    assert _role() == before


def test_an_error_of_the_database_puts_the_role_back(mine: Actor) -> None:
    before = _role()

    with pytest.raises(DatabaseError), acting_in(mine.project.pk, mine.user.pk):
        _value("SELECT 1 / 0")

    assert _role() == before


def test_acting_elsewhere_inside_ends_where_it_began(mine: Actor, theirs: Actor) -> None:
    """Otherwise what follows the inner block would run as the owner, who sees everything."""
    with acting_in(mine.project.pk, mine.user.pk):
        with acting_in(theirs.project.pk, theirs.user.pk):
            inner = _role()
        outer = _role()

    assert inner == (API_ROLE, str(theirs.project.pk), str(theirs.user.pk))
    assert outer == (API_ROLE, str(mine.project.pk), str(mine.user.pk))


def test_a_failure_elsewhere_inside_ends_where_it_began(mine: Actor, theirs: Actor) -> None:
    with acting_in(mine.project.pk, mine.user.pk):
        with pytest.raises(ZeroDivisionError), acting_in(theirs.project.pk, theirs.user.pk):
            raise ZeroDivisionError
        outer = _role()

    assert outer == (API_ROLE, str(mine.project.pk), str(mine.user.pk))


@pytest.mark.django_db(transaction=True)
def test_the_role_ends_with_the_transaction_on_a_real_connection(mine: Actor) -> None:
    with pytest.raises(ZeroDivisionError), acting_in(mine.project.pk, mine.user.pk):
        raise ZeroDivisionError
    after_failure = _role()
    with acting_in(mine.project.pk, mine.user.pk):
        pass

    assert after_failure[0] == _role()[0] != API_ROLE
    assert after_failure[1:] == _role()[1:] == ("", "")
