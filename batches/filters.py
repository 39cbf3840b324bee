"""What lists can be narrowed by."""

import django_filters
from django.db.models import QuerySet

from access.api.filters import YesOrNo
from batches.models import Batch, BatchStatus, Job, JobOutcome, JobStatus


class BatchFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=BatchStatus.choices)
    test_suite_id = django_filters.UUIDFilter(field_name="suite_id")
    model_id = django_filters.UUIDFilter(field_name="endpoint_id")

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
