"""What lists can be narrowed by."""

import uuid
from typing import Any

import django_filters
from django.db.models import Q, QuerySet

from access.api.filters import YesOrNo
from batches.filters import ByEndpoint
from evalsched.models import ModelRun, Run, RunStatus, RunTrigger, Schedule


class _ByModel(ByEndpoint):
    """The endpoint that answers, which may be that of an agent."""

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return qs
        found = Q()
        for at in ("endpoint", "agent__endpoint"):
            try:
                found |= Q(**{f"{at}_id": uuid.UUID(value)})
            except ValueError:
                found |= Q(**{f"{at}__name": value}) | Q(**{f"{at}__model": value})
        return qs.filter(found)


class ScheduleFilter(django_filters.FilterSet):
    is_active = YesOrNo()
    test_suite_id = django_filters.UUIDFilter(field_name="suite_id")
    model_id = _ByModel(max_length=200)
    agent_id = django_filters.UUIDFilter()

    class Meta:
        model = Schedule
        fields: list[str] = []


class ModelRunFilter(django_filters.FilterSet):
    model_name = ByEndpoint(max_length=200)

    class Meta:
        model = ModelRun
        fields: list[str] = []


class RunFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=RunStatus.choices)
    trigger = django_filters.ChoiceFilter(choices=RunTrigger.choices)
    backfill_id = django_filters.UUIDFilter()

    class Meta:
        model = Run
        fields: list[str] = []
