"""What lists can be narrowed by."""

import uuid
from typing import Any

import django_filters
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from access.api.filters import Instant, YesOrNo
from batches.experiments import STATUSES
from batches.models import (
    Agent,
    Batch,
    BatchStatus,
    Document,
    DocumentStatus,
    Job,
    JobOutcome,
    JobStatus,
)


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
    type = django_filters.ChoiceFilter(
        choices=[("regular", "regular"), ("experiment", "experiment")], method="by_type"
    )
    include_expired = YesOrNo(method="by_expiry")
    user_id = django_filters.UUIDFilter()
    tracking_id = django_filters.CharFilter(max_length=64)
    expires_before = Instant(field_name="expires_at", lookup_expr="lt")
    status = django_filters.ChoiceFilter(choices=BatchStatus.choices)
    test_suite_id = django_filters.UUIDFilter(field_name="suite_id")
    model_id = ByEndpoint(max_length=200)

    class Meta:
        model = Batch
        fields: list[str] = []

    def by_type(self, batches: QuerySet[Batch], _: str, kind: str) -> QuerySet[Batch]:
        regular = Q(tracking_id="")
        return batches.filter(regular if kind == "regular" else ~regular)

    def by_expiry(self, batches: QuerySet[Batch], _: str, expired: bool) -> QuerySet[Batch]:
        # Spelt out: of an aggregate Django does not know that it may be null.
        lasting = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
        return batches if expired else batches.filter(lasting)

    def filter_queryset(self, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        shown: QuerySet[Batch] = super().filter_queryset(queryset)
        if self.form.cleaned_data.get("include_expired") is None:
            return self.by_expiry(shown, "", expired=False)
        return shown


class _OfExperiments(django_filters.FilterSet):
    """What may belong to an experiment: shown only where that is asked for."""

    is_ephemeral = YesOrNo(field_name="ephemeral_batch", method="by_kind")
    tracking_id = django_filters.CharFilter(
        field_name="ephemeral_batch__tracking_id", max_length=64
    )

    def by_kind(self, rows: QuerySet[Any], _: str, ephemeral: bool) -> QuerySet[Any]:
        return rows.filter(ephemeral_batch__isnull=not ephemeral)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        given = self.form.cleaned_data
        if given.get("is_ephemeral") is None and not given.get("tracking_id"):
            queryset = queryset.filter(ephemeral_batch__isnull=True)
        shown: QuerySet[Any] = super().filter_queryset(queryset)
        return shown


class AgentFilter(_OfExperiments):
    model_id = ByEndpoint(max_length=200)

    class Meta:
        model = Agent
        fields: list[str] = []


class DocumentFilter(_OfExperiments):
    status = django_filters.ChoiceFilter(choices=DocumentStatus.choices)

    class Meta:
        model = Document
        fields: list[str] = []


class ExperimentFilter(BatchFilter):
    """Narrows the batches that experiments are summed from."""

    type = None
    status = django_filters.ChoiceFilter(choices=[(name, name) for name in STATUSES])


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


class CaseResultFilter(django_filters.FilterSet):
    """Narrows the rows of `case_results.of`."""

    flaky = YesOrNo(method="by_flaky")
    tag = django_filters.CharFilter(field_name="tags", lookup_expr="contains", method="by_tag")

    class Meta:
        model = Job
        fields: list[str] = []

    def by_flaky(self, cases: QuerySet[Any], _: str, flaky: bool) -> QuerySet[Any]:
        both = Q(passed__gt=0, passed__lt=F("scored"))
        return cases.filter(both if flaky else ~both)

    def by_tag(self, cases: QuerySet[Any], _: str, tag: str) -> QuerySet[Any]:
        return cases.filter(tags__contains=[tag])
