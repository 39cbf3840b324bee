"""One request acts in one project: scoping in the querysets, row-level security beneath them.

Workers and the admin use the owner's role and see all. The API takes the role `evalsched_api`,
for which PostgreSQL shows and accepts only rows of the project that the transaction acts in.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from django.db import DatabaseError, connection, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

API_ROLE = "evalsched_api"
# Without the SELECT around it PostgreSQL evaluates the setting for every row (239 against 40 ms
# over 500,000 rows); a reset setting is an empty string, not NULL.
THIS_PROJECT = "(SELECT nullif(current_setting('evalsched.project_id', true), '')::uuid)"
THIS_USER = "(SELECT nullif(current_setting('evalsched.user_id', true), '')::uuid)"

OnDelete = Literal["CASCADE", "RESTRICT", "SET NULL"]


@contextmanager
def acting_in(project_id: uuid.UUID, user_id: uuid.UUID) -> Iterator[None]:
    """Open a transaction that can reach one project's rows only, whatever the queries say.

    Inside another transaction it is a savepoint; the role and the settings are put back on the
    way out, as they would otherwise last until the outer transaction ends.
    """
    with transaction.atomic():
        before = _taken_on()
        _take_on(API_ROLE, str(project_id), str(user_id))
        yield
        _take_on(*before)


@contextmanager
def as_owner() -> Iterator[None]:
    """Within `acting_in`, do what the API's role may not, such as making a table.

    Nobody's rows are to be read or written here: the owner sees those of all projects.
    """
    with transaction.atomic():
        role, project_id, user_id = _taken_on()
        _take_on("none", project_id, user_id)
        yield
        _take_on(role, project_id, user_id)


def _taken_on() -> tuple[str, str, str]:
    """Return role, project and user as `_take_on` takes them; inside `acting_in` they are set."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('role'),"
            " coalesce(current_setting('evalsched.project_id', true), ''),"
            " coalesce(current_setting('evalsched.user_id', true), '')"
        )
        role, project_id, user_id = cursor.fetchone()
    return role, project_id, user_id


def _take_on(role: str, project_id: str, user_id: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('evalsched.project_id', %s, true),"
            " set_config('evalsched.user_id', %s, true), set_config('role', %s, true)",
            [project_id, user_id, role],
        )


def owned_key(to: str, *, null: bool = False, related_name: str = "+", index: bool = True) -> Any:
    """Return a foreign key between two owned tables.

    Django's own constraint would not look at the project, and a row might point at somebody
    else's; so the constraint is made by `OwnedTable` or `OwnedKey`, over (project_id, this column).
    """
    return models.ForeignKey(
        to,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=null,
        blank=null,
        related_name=related_name,
        db_index=index,
    )


class _BelowTheModels(Operation):
    """Changes the database and nothing in Django's picture of the models."""

    reversible = True
    reduces_to_sql = True

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change nothing."""


class OwnedTable(_BelowTheModels):
    """Make a table of owned rows safe: policy, grants, and foreign keys that carry the project.

    `references` names the fields made with `owned_key` and what deleting their target does.
    `grants` is what the API's role may do. `condition` replaces the policy's rule where a table
    belongs to a person as well; `check` is for rows that are written, where that is narrower.
    """

    def __init__(
        self,
        model: str,
        references: Mapping[str, OnDelete] | None = None,
        *,
        grants: str = "SELECT, INSERT, UPDATE, DELETE",
        condition: str = f"project_id = {THIS_PROJECT}",
        check: str = "",
        referenced: bool = True,
    ) -> None:
        self.model = model
        self.references = dict(references or {})
        self.grants = grants
        self.condition = condition
        self.check = check or condition
        self.referenced = referenced

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model)
        table = model._meta.db_table
        schema_editor.execute(f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
        schema_editor.execute(
            f'CREATE POLICY in_project ON "{table}" TO {API_ROLE}'
            f" USING ({self.condition}) WITH CHECK ({self.check})"
        )
        schema_editor.execute(f'GRANT {self.grants} ON "{table}" TO {API_ROLE}')
        if self.referenced:
            schema_editor.execute(
                f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_in_project" UNIQUE (project_id, id)'
            )
        for name, on_delete in self.references.items():
            _add_key(schema_editor, model, name, on_delete)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model)
        table = model._meta.db_table
        for name in self.references:
            _drop_key(schema_editor, model, name)
        if self.referenced:
            schema_editor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{table}_in_project"')
        schema_editor.execute(f'REVOKE ALL ON "{table}" FROM {API_ROLE}')
        schema_editor.execute(f'DROP POLICY in_project ON "{table}"')
        schema_editor.execute(f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY')

    def describe(self) -> str:
        return f"Isolate {self.model} by project"


class OwnedKey(_BelowTheModels):
    """Let a field made with `owned_key`, added to a table that is safe already, carry the project.

    `on_delete` is what deleting its target does.
    """

    def __init__(self, model: str, field: str, on_delete: OnDelete) -> None:
        self.model = model
        self.field = field
        self.on_delete = on_delete

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model)
        _add_key(schema_editor, model, self.field, self.on_delete)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        _drop_key(schema_editor, from_state.apps.get_model(app_label, self.model), self.field)

    def describe(self) -> str:
        return f"Keep {self.model}.{self.field} within its project"


def _add_key(
    schema_editor: BaseDatabaseSchemaEditor, model: Any, name: str, on_delete: OnDelete
) -> None:
    table, field = model._meta.db_table, model._meta.get_field(name)
    target = field.related_model._meta.db_table
    action = f"SET NULL ({field.column})" if on_delete == "SET NULL" else on_delete
    schema_editor.execute(
        f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_{field.column}_in_project"'
        f' FOREIGN KEY (project_id, "{field.column}")'
        f' REFERENCES "{target}" (project_id, id) ON DELETE {action}'
        " DEFERRABLE INITIALLY IMMEDIATE"
    )


def _drop_key(schema_editor: BaseDatabaseSchemaEditor, model: Any, name: str) -> None:
    table, column = model._meta.db_table, model._meta.get_field(name).column
    schema_editor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{table}_{column}_in_project"')


class ApiRole(_BelowTheModels):
    """Make the role that the API takes on, and let the login role take it on.

    Roles belong to the cluster: two databases that are migrated at once may both try to make it,
    so each step is a statement of its own, whose failure is looked at rather than prevented.
    """

    reduces_to_sql = False

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        _attempt(f"CREATE ROLE {API_ROLE} NOLOGIN")
        # Being a member is not enough: since PostgreSQL 16 whoever makes a role may administer
        # it, but not take it on.
        if (problem := _attempt(_TAKE_ON_AND_OFF)) is not None:
            _attempt(f"GRANT {API_ROLE} TO CURRENT_USER")
            problem = _attempt(_TAKE_ON_AND_OFF)
        if problem is not None:
            raise RuntimeError(
                f"This login cannot take on the role {API_ROLE}: {problem}. As administrator run "
                f"CREATE ROLE {API_ROLE} NOLOGIN (unless it exists) and GRANT {API_ROLE} TO the "
                "login of DATABASE_URL, then migrate again."
            ) from problem
        schema_editor.execute(f"GRANT USAGE ON SCHEMA public TO {API_ROLE}")

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Leave the role: another database of the cluster may use it."""

    def describe(self) -> str:
        return "Create the API's role"


_TAKE_ON_AND_OFF = f"SET LOCAL ROLE {API_ROLE}; RESET ROLE"


def _attempt(statement: str) -> DatabaseError | None:
    """Run a statement in a savepoint and return what went wrong, if anything did."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError as error:
        return error
    return None
