"""Who uses a row, so that a refusal to delete it can name them."""

from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q

from access.errors import Conflict
from batches.models import Agent, Batch, ModelEndpoint, TestCase, TestSuite

_SHOWN = 5


def refuse_if_used(row: models.Model) -> None:
    """Refuse to delete what a schedule or an agent uses.

    Schedules live above this app, so they are found by the relation's name; the database's own
    RESTRICT holds the same line against one that is made at this moment.

    Raises:
        Conflict: naming them.
    """
    for relation in ("schedules", "agents"):
        if hasattr(row, relation):
            _refuse(row, relation, getattr(row, relation))


def refuse_if_asked(endpoint: ModelEndpoint) -> None:
    """Refuse to delete an endpoint that schedules, suites or agents name to judge or to embed.

    They name it by whatever `endpoints.find` takes, which no foreign key can hold.

    Raises:
        Conflict: naming them.
    """
    called = _called(endpoint)
    by_assertion = _any_of(Q(assertions__contains=[{"provider": name}]) for name in called)
    by_config = Q(batch_test_config__judge_model_id__in=called) | Q(
        batch_test_config__embedding_model_id__in=called
    )
    cases = TestCase.objects.filter(by_assertion, suite=OuterRef("pk"), removed_in=None)
    schedules: Any = getattr(endpoint, "schedules").model  # noqa: B009  a relation from above
    for kind, rows in (
        ("schedules", schedules.objects.filter(by_config)),
        ("agents", Agent.objects.filter(by_assertion)),
        ("suites", TestSuite.objects.filter(Exists(cases))),
    ):
        _refuse(endpoint, kind, rows.filter(project_id=endpoint.project_id))


def refuse_if_baseline(batches: Iterable[Batch]) -> None:
    """Refuse to delete results that people chose for a schedule's runs to be compared with.

    Raises:
        Conflict: naming the schedules.
    """
    schedules: Any = getattr(ModelEndpoint, "schedules").rel.related_model  # noqa: B009
    chosen = schedules.objects.filter(baseline__batch__in=[batch.pk for batch in batches])
    if names := _names(chosen):
        raise Conflict(
            "These are the results of the baseline that was chosen for the "
            f"schedule{'' if len(names) == 1 else 's'} {_listed(names)}. Choose another first."
        )


def _called(endpoint: ModelEndpoint) -> list[str]:
    """Return what means this endpoint: its id, its name, and its model where no other has that."""
    others = ModelEndpoint.objects.filter(project_id=endpoint.project_id).exclude(pk=endpoint.pk)
    ambiguous = others.filter(Q(name=endpoint.model) | Q(model=endpoint.model)).exists()
    return [str(endpoint.pk), endpoint.name, *([] if ambiguous else [endpoint.model])]


def _any_of(conditions: Iterable[Q]) -> Q:
    found = Q()
    for condition in conditions:
        found |= condition
    return found


def _refuse(row: models.Model, kinds: str, users: Any) -> None:
    names = _names(users)
    if names:
        kind = kinds if len(names) > 1 else kinds.removesuffix("s")
        raise Conflict(
            f"{row} is used by the {kind} {_listed(names)}. Change or delete those first."
        )


def _names(users: Any) -> list[str]:
    found = users.order_by("name").values_list("name", flat=True)[: _SHOWN + 1]
    return [f"'{name}'" for name in found]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")
