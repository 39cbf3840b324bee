"""What lists can be narrowed by."""

import django_filters

from access.api.filters import YesOrNo
from batches.filters import ByEndpoint
from evalsched.models import ModelRun, Run, RunStatus, RunTrigger, Schedule


class ScheduleFilter(django_filters.FilterSet):
    is_active = YesOrNo()
    test_suite_id = django_filters.UUIDFilter(field_name="suite_id")
    model_id = ByEndpoint(max_length=200)

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
