"""Alert rules: the list, the form, and how the value has developed against the threshold."""

from decimal import Decimal
from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from access import clock, projects
from access.admin import words
from access.admin.base import (
    Button,
    DomainAdmin,
    Said,
    actor_in,
    list_url,
    only_changed,
    operator,
)
from access.admin.forms import DomainForm
from alerts import announcements, history, rulebook
from alerts.admin import charts
from alerts.models import Alert, AlertRule
from alerts.rule_models import RuleStatus

TONES: dict[str, words.Tone] = {
    "inactive": "success",
    "pending": "warning",
    "firing": "danger",
    "recovering": "info",
}
_CHARTED_MINUTES = 180
_SECTIONS = (
    (
        "Condition",
        (
            *("metric_type", "aggregation_method", "comparison_operator", "threshold_value"),
            *("time_window_minutes", "severity"),
        ),
    ),
    (
        "What it looks at",
        ("model_filter", "operation_filter", "status_filter", "source_filter", "group_by"),
    ),
    (
        "Who is told",
        ("notify_email", "notify_webhooks", "notify_integrations", "cooldown_minutes", "renotify"),
    ),
)
_BEGIN_AND_END = (
    *("for_minutes", "keep_firing_minutes", "recovery_threshold", "tolerance"),
    *("min_samples", "no_data_mode"),
)
_FIELDS = (
    *("rule_name", "description", "enabled"),
    *(name for _, names in _SECTIONS for name in names),
    *_BEGIN_AND_END,
)
_SUGGESTED = ", ".join(f"{name} {least}" for name, least in rulebook.SUGGESTED_SAMPLES.items())
_LABELS = {
    "rule_name": "Name",
    "metric_type": "Metric",
    "aggregation_method": "Aggregation",
    "comparison_operator": "Fires when it is",
    "threshold_value": "Threshold",
    "time_window_minutes": "Window in minutes",
    "model_filter": "Model",
    "operation_filter": "Operation",
    "status_filter": "Status",
    "source_filter": "Source",
    "notify_email": "By mail",
    "notify_webhooks": "By webhooks",
    "notify_integrations": "By chat",
    "cooldown_minutes": "Cooldown in minutes",
    "renotify": "Tell again",
    "for_minutes": "Fires after minutes",
    "keep_firing_minutes": "Ends after minutes",
    "min_samples": "Least samples",
    "no_data_mode": "Without data",
}
_HELP = {
    "aggregation_method": "Error rate and throughput know avg, count and sum.",
    "threshold_value": "In ms, percent of the spans, USD, spans a minute, or tokens.",
    "time_window_minutes": "1 to 1440; at most 60 for percentiles.",
    "model_filter": "Exactly this name; empty means all.",
    "operation_filter": "Exactly this name; empty means all.",
    "status_filter": "Not for an error rate.",
    "source_filter": "Ingest is what programs report, evaluation what batches call.",
    "group_by": "Each model or operation fires for itself; at most 100.",
    "notify_email": "To you, and to the project's mail channels.",
    "notify_webhooks": "To the project's webhooks.",
    "notify_integrations": "To the project's Slack channels.",
    "cooldown_minutes": "The least time between two notices that it fires.",
    "renotify": "While it fires, each time the cooldown has passed.",
    "for_minutes": "Beyond the threshold for so long before it fires.",
    "keep_firing_minutes": "Back in bounds for so long before it ends.",
    "recovery_threshold": "It ends only on the safe side of this.",
    "tolerance": "For equal and unequal.",
    "min_samples": f"With fewer nothing is judged. Percentiles say something from: {_SUGGESTED}.",
    "no_data_mode": "What an empty window is: zero, nothing new, or a breach.",
}


class AlertRuleForm(DomainForm):
    class Meta:
        model = AlertRule
        fields = ("project", *_FIELDS)
        labels = _LABELS
        help_texts = _HELP

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("threshold_value", "recovery_threshold", "tolerance"):
            if isinstance(stored := self.initial.get(name), Decimal):
                self.initial[name] = Decimal(f"{stored.normalize():f}")
        self.fields["description"].widget.attrs["rows"] = 2
        operators = cast(Any, self.fields["comparison_operator"])
        operators.choices = [
            (value, f"{label.lower()} ({value})") if value else (value, label)
            for value, label in operators.choices
        ]


@admin.register(AlertRule)
class AlertRuleAdmin(DomainAdmin):
    form = AlertRuleForm
    empty_text = (
        "An alert rule looks at the traces of a window each minute and tells when a value goes "
        "beyond its threshold. Traces come first; then add a rule."
    )
    list_display = ("rule_name", "in_words", "state", "last_fired", "project", "row_buttons")
    list_select_related = ("project",)
    list_filter = ("enabled", "metric_type", "severity", "project")
    search_fields = ("rule_name",)
    ordering = ("rule_name",)
    buttons = (
        Button("try_now", "Test", "send"),
        Button("enable", "Enable", "toggle_on", when=lambda rule: not rule.enabled),
        Button("disable", "Disable", "pause", when=lambda rule: rule.enabled),
    )
    change_form_outer_before_template = "admin/evalsched/rule_head.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("states")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        what = ("rule_name", "description")
        return (
            (None, {"fields": what if obj else ("project", *what, "enabled")}),
            *((title, {"fields": names}) for title, names in _SECTIONS),
            ("When it begins and ends", {"classes": ["collapse"], "fields": _BEGIN_AND_END}),
        )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk, "time_window_minutes": 5}

    def goes_with(self, row: Any) -> list[str]:
        return ["Its history and all of its alerts."]

    def create(self, request: HttpRequest, form: Any) -> AlertRule:
        values = form.cleaned_data
        return rulebook.create(
            actor_in(request, values["project"]),
            now=clock.database_now(),
            **{name: values[name] for name in _FIELDS},
        )

    def change(self, request: HttpRequest, row: Any, form: Any) -> AlertRule:
        actor = actor_in(request, row.project)
        fields = only_changed(form, _FIELDS)
        return rulebook.change(actor, row, now=clock.database_now(), **fields)

    def delete(self, request: HttpRequest, row: Any) -> None:
        rulebook.delete(actor_in(request, row.project), row)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        rule = kwargs.get("obj")
        # With errors to correct, the form comes first.
        if rule is not None and request.method == "GET":
            context["head"] = {
                "state": self.state(rule),
                "condition": announcements.condition(rule),
                "last_fired": self.last_fired(rule),
                "warnings": [*filter(None, [rule.pause_reason]), *rulebook.warnings(rule)],
            }
            context["charts"] = _charts(rule)
            context["alerts_url"] = list_url(Alert, f"?rule__id__exact={rule.pk}")
        return super().render_change_form(request, context, *args, **kwargs)

    def try_now(self, request: HttpRequest, rule: AlertRule) -> Said:
        rulebook.send_test(actor_in(request, rule.project), rule, now=clock.database_now())
        return Said(f"A test of {rule.rule_name} is on its way.")

    def enable(self, request: HttpRequest, rule: AlertRule) -> Said:
        return self._switch(request, rule, on=True)

    def disable(self, request: HttpRequest, rule: AlertRule) -> Said:
        return self._switch(request, rule, on=False)

    def _switch(self, request: HttpRequest, rule: AlertRule, *, on: bool) -> Said:
        actor = actor_in(request, rule.project)
        rulebook.change(actor, rule, now=clock.database_now(), enabled=on)
        return Said(f"{rule.rule_name} is {'enabled' if on else 'disabled'}.")

    @admin.display(description="Condition")
    def in_words(self, rule: AlertRule) -> str:
        return announcements.condition(rule)

    @admin.display(description="State")
    def state(self, rule: AlertRule) -> SafeString:
        if not rule.enabled:
            return words.label("paused" if rule.pause_reason else "disabled")
        state, health = rulebook.standing(list(rule.states.all()))
        if health == "error":
            return words.label(f"{state}, error", "danger")
        # Of a rule with groups another one may have no data.
        quiet = state == RuleStatus.INACTIVE and health != "ok"
        return words.label(health.replace("_", " ") if quiet else state, TONES[state])

    @admin.display(description="Last fired", ordering="last_triggered_at")
    def last_fired(self, rule: AlertRule) -> SafeString | str:
        return words.when(rule.last_triggered_at, timezone.now())


def _charts(rule: AlertRule) -> list[charts.Chart]:
    """Draw the rule's value over its last minutes; of its groups the worst."""
    least = rule.comparison_operator in {"<", "<="}
    worst = history.extremes(rule, minutes=_CHARTED_MINUTES, least=least)
    if not worst:
        return []
    title = f"{announcements.condition(rule)}, minute by minute"
    threshold = float(rule.threshold_value)
    unit = announcements.unit(rule)
    return [charts.line(title, worst, unit=unit, threshold=threshold)]
