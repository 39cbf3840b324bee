"""The operator's form of a schedule: inputs of its own for everything, no JSON."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
)

from access.admin.forms import DomainForm, TimezoneInput
from access.models import Project
from batches.batches import MAX_CONCURRENCY, MAX_REPEATS, Config
from evalsched.metrics import THRESHOLD_TOO_SMALL, gated_by_default, too_small
from evalsched.models import METRIC_CHOICES, Schedule
from evalsched.zones import LONGEST_ZONE_NAME

PLAIN = (
    "name",
    "description",
    "suite",
    "endpoint",
    "agent",
    "schedule_type",
    "cron_expression",
    "timezone",
    "dst_gap",
    "dst_overlap",
    "overlap_policy",
    "catchup_policy",
    "catchup_window_minutes",
    "jitter_seconds",
    "starts_at",
    "ends_at",
    "max_runs",
    "alert_on_failure",
    "alert_on_regression",
    "gated_metrics",
    "regression_threshold_percent",
    "regression_method",
)
_PARTS = ("suite", "endpoint", "agent")
PAUSE = ("paused_until", "pause_reason")
CONFIG = ("concurrency", "repeats", "timeout_s")
_LONGEST_TIMEOUT_S = 600
_USUAL = Config()


class ScheduleForm(DomainForm):
    names: ClassVar[Mapping[str, str]] = {
        "test_suite_id": "suite",
        "suite_id": "suite",
        "model_id": "endpoint",
        "endpoint_id": "endpoint",
        "agent_id": "agent",
    }

    timezone = forms.CharField(max_length=LONGEST_ZONE_NAME, initial="UTC", widget=TimezoneInput())
    dst_gap = forms.ChoiceField(
        required=False,
        label="A time that a clock change skips",
        choices=[
            ("", "As cron does"),
            ("shift", "Run at the end of the gap"),
            ("skip", "Leave out"),
        ],
        widget=UnfoldAdminSelectWidget(),
    )
    dst_overlap = forms.ChoiceField(
        required=False,
        label="A time that comes twice",
        choices=[
            ("", "As cron does"),
            ("first", "Run the first time"),
            ("second", "Run the second time"),
            ("both", "Run both times"),
        ],
        widget=UnfoldAdminSelectWidget(),
    )
    gated_metrics = forms.MultipleChoiceField(
        choices=METRIC_CHOICES,
        label="Judged by",
        initial=gated_by_default,
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
        help_text="The others are compared too, for your information.",
    )
    concurrency = forms.IntegerField(
        min_value=1,
        max_value=MAX_CONCURRENCY,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Calls under way at once.",
    )
    repeats = forms.IntegerField(
        min_value=1,
        max_value=MAX_REPEATS,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="How often each case is asked.",
    )
    timeout_s = forms.FloatField(
        min_value=0.1,
        max_value=_LONGEST_TIMEOUT_S,
        label="Timeout (seconds)",
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="How long one call may take.",
    )
    next_run_at = forms.SplitDateTimeField(
        required=False,
        label="Next run (UTC)",
        # Compared with what the page showed: a tick may have moved it on meanwhile.
        show_hidden_initial=True,
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="Computed from the schedule. A time in the past runs at once.",
    )

    class Meta:
        model = Schedule
        fields = ("project", *PLAIN, *PAUSE, "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: Schedule = self.instance
        self._offer_parts(row)
        self.fields["endpoint"].label = "Model"
        self.fields["endpoint"].help_text = "It answers by itself."
        self.fields["agent"].help_text = "Instead of a model, as it has one."
        self.fields["description"].widget.attrs["rows"] = 2
        if "pause_reason" in self.fields:
            self.fields["pause_reason"].widget.attrs["rows"] = 2
        self.fields["cron_expression"].widget.attrs["placeholder"] = "0 2 * * MON-FRI"
        stored = row.batch_test_config
        self.initial.setdefault("concurrency", stored.get("concurrency", _USUAL.concurrency))
        self.initial.setdefault("repeats", stored.get("repeats", _USUAL.repeats))
        timeout_s = stored.get("timeout_ms", _USUAL.timeout_ms) / 1000
        self.initial.setdefault(
            "timeout_s", int(timeout_s) if timeout_s.is_integer() else timeout_s
        )
        self.initial.setdefault("next_run_at", row.next_run_at)

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        if too_small(values.get("regression_threshold_percent") or 0):
            self.add_error("regression_threshold_percent", THRESHOLD_TOO_SMALL)
        project = values.get("project") or getattr(self.instance, "project", None)
        for name in _PARTS:
            part = values.get(name)
            if part is not None and project is not None and part.project_id != project.pk:
                self.add_error(name, f"This belongs to another project than {project}.")
        if values.get("endpoint") is not None and values.get("agent") is not None:
            self.add_error("agent", "Choose a model or an agent, not both.")
        moved = values.get("next_run_at") and "next_run_at" in self.changed_data
        if moved and not self.instance.is_active:
            self.add_error("next_run_at", "Enable the schedule first.")
        return values

    def config(self) -> dict[str, Any]:
        """Return the batch's configuration with this form's three; the others are kept."""
        values = self.cleaned_data
        kept: dict[str, Any] = self.instance.batch_test_config
        return kept | {
            "concurrency": values["concurrency"],
            "repeats": values["repeats"],
            "timeout_ms": round(values["timeout_s"] * 1000),
        }

    def _offer_parts(self, row: Schedule) -> None:
        """Offer what the schedule's project has to choose from; of a new one, all with theirs."""
        many = row._state.adding and Project.objects.count() > 1
        for name in _PARTS:
            field: Any = self.fields[name]
            if name == "agent":
                field.queryset = field.queryset.filter(ephemeral_batch__isnull=True)
            if not row._state.adding:
                field.queryset = field.queryset.filter(project_id=row.project_id)
            field.queryset = field.queryset.select_related("project").order_by("project_id", "name")
            if many:
                field.label_from_instance = lambda part: f"{part} ({part.project})"
