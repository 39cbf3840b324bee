"""Traces: what was reported, and how it has developed."""

import json
import uuid
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from access.admin import words
from access.admin.base import ReadOnlyAdmin, list_url
from access.admin.lists import LongList
from alerts import rollups
from alerts.admin import charts
from alerts.admin.charts import Chart
from alerts.models import Rollup, Trace
from alerts.windows import KINDS, Series, Shape

_MINUTE = timedelta(minutes=1)
_CHART_MINUTES = 60
_SPANS = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last 24 hours", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
}
_CHARTS = (
    ("Latency, p95", "latency", "p95", " ms"),
    ("Errors", "error_rate", "avg", " %"),
    ("Cost a minute", "cost", "sum", "$"),
    ("Spans a minute", "throughput", "count", ""),
)


class EndedFilter(admin.SimpleListFilter):
    title = "ended"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, shown) for key, (shown, _) in _SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = _SPANS.get(self.value() or "")
        return queryset.filter(ended_at__gte=timezone.now() - chosen[1]) if chosen else queryset


class _NameFilter(admin.SimpleListFilter):
    """The names of the last hours' minutes: asking the spans would mean to read them all."""

    place: int

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        recent = Rollup.objects.filter(minute__gte=timezone.now() - timedelta(hours=6))
        names = {
            group[self.place]
            for groups in set(recent.values_list("groups", flat=True))
            for group in json.loads(groups)
        }
        return [(name, name) for name in sorted(names) if name][:100]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(**{str(self.parameter_name): chosen}) if chosen else queryset


class ModelFilter(_NameFilter):
    title = "model"
    parameter_name = "model"
    place = 1


class OperationFilter(_NameFilter):
    title = "operation"
    parameter_name = "operation"
    place = 2


@admin.register(Trace)
class TraceAdmin(LongList, ReadOnlyAdmin):
    empty_text = (
        "A trace is one call that a program has reported, over OpenTelemetry at /v1/traces or at "
        "/api/analytics/traces. Point an exporter there with an API key that has the scope ingest."
    )
    list_display = (
        "span_name",
        "operation",
        "model",
        "state",
        "latency",
        "tokens",
        "price",
        "project",
        "ended",
    )
    list_select_related = ("project",)
    list_filter = (EndedFilter, ModelFilter, OperationFilter, "status", "source", "project")
    change_list_template = "admin/evalsched/trace_list.html"

    fields = (
        *("span_name", "operation", "model", "model_requested", "provider", "source", "state"),
        *("error_type", "latency", "first_token", "input_tokens", "cached_tokens"),
        *("output_tokens", "total_tokens", "price", "cost_source", "began", "until", "of_trace"),
        *("span_id", "parent_span_id", "project", "user", "all_attributes"),
    )
    readonly_fields = (
        *("state", "latency", "first_token", "price", "began", "until", "of_trace"),
        "all_attributes",
    )
    only_with = {
        "model_requested": "model_requested",
        "error_type": "error_type",
        "first_token": "ttft_ms",
        "cached_tokens": "cached_tokens",
        "cost_source": "cost_source",
        "parent_span_id": "parent_span_id",
    }

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        return super().changelist_view(
            request, {**(extra_context or {}), "charts": _charts(request)}
        )

    @admin.display(description="Status")
    def state(self, trace: Trace) -> SafeString:
        tone: words.Tone = "danger" if trace.status == "error" else "success"
        return words.label(trace.status, tone, title=trace.error_type)

    @admin.display(description="Latency")
    def latency(self, trace: Trace) -> str:
        return words.milliseconds(trace.latency_ms)

    @admin.display(description="First token after")
    def first_token(self, trace: Trace) -> str:
        return words.milliseconds(trace.ttft_ms)

    @admin.display(description="Tokens")
    def tokens(self, trace: Trace) -> str:
        return words.NOTHING if trace.total_tokens is None else f"{trace.total_tokens:,}"

    @admin.display(description="Cost")
    def price(self, trace: Trace) -> str:
        return words.NOTHING if trace.cost is None else words.money(trace.cost)

    @admin.display(description="Ended")
    def ended(self, trace: Trace) -> SafeString | str:
        return words.when(trace.ended_at, timezone.now())

    @admin.display(description="Began")
    def began(self, trace: Trace) -> str:
        return _to_the_millisecond(trace.started_at)

    @admin.display(description="Ended")
    def until(self, trace: Trace) -> str:
        return _to_the_millisecond(trace.ended_at)

    @admin.display(description="Trace id")
    def of_trace(self, trace: Trace) -> SafeString:
        query = urlencode(
            {"trace_id__exact": trace.trace_id, "project__id__exact": trace.project_id}
        )
        return words.link(list_url(Trace, f"?{query}"), trace.trace_id)

    @admin.display(description="Attributes")
    def all_attributes(self, trace: Trace) -> SafeString | str:
        rows = ((name, _written(value)) for name, value in sorted(trace.attributes.items()))
        line = (
            '<tr><td data-label="Name">{}</td><td data-label="Value" class="es-wrap">'
            '<span class="es-lines">{}</span></td></tr>'
        )
        shown = format_html_join("", line, rows)
        table = '<div class="es-scroll"><table class="es-table">{}</table></div>'
        return format_html(table, shown) if shown else words.NOTHING


def _to_the_millisecond(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}.{instant.microsecond // 1000:03d} UTC"


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)


def _charts(request: HttpRequest) -> list[Chart]:
    """Draw the last hour of the project that is chosen, or of the one that reported last."""
    end = timezone.now().replace(second=0, microsecond=0)
    project_id = _project(request)
    if project_id is None:
        return []
    with_values = {name: _CHART_MINUTES if name == "latency" else 0 for name in KINDS}
    series = Series(
        rollups.read(project_id, end=end, window=_CHART_MINUTES, with_values=with_values)
    )
    given = {name: request.GET.get(name, "") for name in ("model", "operation")}
    given |= {name: request.GET.get(f"{name}__exact", "") for name in ("status", "source")}
    found = []
    for title, metric, aggregation, unit in _CHARTS:
        points = []
        for ago in reversed(range(_CHART_MINUTES)):
            shape = Shape(metric, aggregation, 1, ago=ago, **given)
            value = series.measure(shape)[""].value
            points.append((end - ago * _MINUTE, None if value is None else float(value)))
        found.append(charts.line(title, points, unit=unit))
    return found


def _project(request: HttpRequest) -> uuid.UUID | None:
    chosen = request.GET.get("project__id__exact", "")
    if chosen:
        with suppress(ValueError):
            return uuid.UUID(chosen)
    newest = Rollup.objects.order_by("-packed_at").values_list("project_id", flat=True)
    return newest.filter(minute__gte=timezone.now() - timedelta(days=1)).first()
