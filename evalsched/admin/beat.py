"""Beat's own entries, in the look of the other pages. The service uses intervals only."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest
from django_celery_beat import admin as beat
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from access.admin.base import OperatorAdmin, instant

for _model in (PeriodicTask, IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)

if TYPE_CHECKING:
    _PeriodicTaskAdmin = admin.ModelAdmin[Any]
else:
    _PeriodicTaskAdmin = beat.PeriodicTaskAdmin


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(OperatorAdmin, _PeriodicTaskAdmin):
    """How often ticks and sweeps happen, and whether. They are made by migrations."""

    change_form_template = "admin/evalsched/change_form.html"
    form = ModelForm
    empty_text = "Beat has no entries; run the migrations to get them back."
    list_display = ("name", "enabled", "interval", "ticked", "expire_seconds", "description")
    ticked = instant("last_run_at", "Last sent")
    list_filter = ("enabled",)
    date_hierarchy = None
    actions = ("enable_tasks", "disable_tasks")
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "task", "description", "enabled")}),
        ("How often", {"fields": ("interval", "expire_seconds", "ticked")}),
    )
    readonly_fields = ("name", "task", "description", "ticked")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in _HELP:
            field.label, field.help_text = _HELP[db_field.name]
        return field

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Without the tick nothing runs; whoever wants that can disable it.
        return False


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(OperatorAdmin):
    empty_text = "An interval is how often a periodic task happens."
    list_display = ("__str__", "every", "period")


_HELP = {
    "enabled": ("Enabled", "Off: nothing of this kind happens until it is on again."),
    "interval": ("Interval", ""),
    "expire_seconds": ("Expires after (seconds)", "A tick that waited longer is not worth doing."),
}
