"""What lists can be narrowed by."""

import uuid
from typing import Any

import django_filters
from django.db.models import Q, QuerySet

from access.api.filters import YesOrNo
from batches.models import Batch, BatchStatus, Job, JobOutcome, JobStatus


class ByEndpoint(django_filters.CharFilter):
    """The endpoint's id, its name, or its model."""

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return qs
        try:
            return qs.filter(endpoint_id=uuid.UUID(value))
        except ValueError:
            return qs.filter(Q(endpoint__name=value) | Q(endpoint__model=value))


class BatchFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=BatchStatus.choices)
    test_suite_id = django_filters.UUIDFilter(field_name="suite_id")
    model_id = ByEndpoint(max_length=200)

    class Meta:
        model = Batch
        fields: list[str] = []


class JobFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=JobStatus.choices)
    outcome = django_filters.ChoiceFilter(choices=JobOutcome.choices)
    passed = YesOrNo(method="by_passed")
    tag = django_filters.CharFilter(field_name="tags", lookup_expr="contains", method="by_tag")

    class Meta:
        model = Job
        fields: list[str] = []

    def by_passed(self, jobs: QuerySet[Job], _: str, passed: bool) -> QuerySet[Job]:
        wanted = [JobOutcome.PASSED] if passed else [JobOutcome.FAILED, JobOutcome.ERROR]
        return jobs.filter(outcome__in=wanted)

    def by_tag(self, jobs: QuerySet[Job], _: str, tag: str) -> QuerySet[Job]:
        return jobs.filter(tags__contains=[tag])
