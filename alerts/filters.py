"""What lists can be narrowed by."""

import django_filters

from alerts.models import Trace
from alerts.trace_models import TraceSource, TraceStatus


class TraceFilter(django_filters.FilterSet):
    model = django_filters.CharFilter(max_length=200)
    operation = django_filters.CharFilter(max_length=128)
    status = django_filters.ChoiceFilter(choices=TraceStatus.choices)
    source = django_filters.ChoiceFilter(choices=TraceSource.choices)
    trace_id = django_filters.CharFilter(max_length=64)
    # Half-open, by the spans' end.
    start = django_filters.IsoDateTimeFilter(field_name="ended_at", lookup_expr="gte")
    end = django_filters.IsoDateTimeFilter(field_name="ended_at", lookup_expr="lt")

    class Meta:
        model = Trace
        fields: list[str] = []
