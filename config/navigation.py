"""The admin's sidebar."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups of the sidebar."""
    return [
        {"items": [_item("Home", "home", "admin:index")]},
        {
            "title": "Evaluations",
            "separator": True,
            "items": [
                _item("Schedules", "schedule", "admin:evalsched_schedule_changelist"),
                _item("Runs", "history", "admin:evalsched_run_changelist"),
                _item("Model runs", "bolt", "admin:evalsched_modelrun_changelist"),
                _item("Executions", "receipt_long", "admin:evalsched_execution_changelist"),
                _item("Batches", "stacks", "admin:batches_batch_changelist"),
                _item("Experiments", "science", "admin:batches_experiment_changelist"),
                _item("Cleaned up", "auto_delete", "admin:batches_tombstone_changelist"),
                _item("Jobs", "forum", "admin:batches_job_changelist"),
            ],
        },
        {
            "title": "Models and suites",
            "separator": True,
            "items": [
                _item("Model endpoints", "smart_toy", "admin:batches_modelendpoint_changelist"),
                _item("Test suites", "checklist", "admin:batches_testsuite_changelist")
                | {"active": _about_suites},
                _item("Agents", "support_agent", "admin:batches_agent_changelist"),
                _item("Documents", "description", "admin:batches_document_changelist"),
            ],
        },
        {
            "title": "Alerts",
            "separator": True,
            "items": [
                _item("Alerts", "crisis_alert", "admin:alerts_alert_changelist"),
                _item("Alert rules", "rule", "admin:alerts_alertrule_changelist"),
                _item("Traces", "timeline", "admin:alerts_trace_changelist"),
                _item("Events", "campaign", "admin:alerts_event_changelist"),
                _item("Notifications", "mail", "admin:alerts_notification_changelist"),
                _item("Channels", "outgoing_mail", "admin:alerts_channel_changelist"),
                _item("Preferences", "notifications", "admin:alerts_preference_changelist"),
            ],
        },
        {
            "title": "Access",
            "separator": True,
            "items": [
                _item("Users", "person", "admin:access_user_changelist"),
                _item("Projects", "folder", "admin:access_project_changelist"),
                _item("API keys", "key", "admin:access_apikey_changelist"),
                _item("Audit trail", "policy", "admin:access_auditevent_changelist"),
            ],
        },
        {
            "title": "System",
            "separator": True,
            "items": [
                _item(
                    "Periodic tasks", "timer", "admin:django_celery_beat_periodictask_changelist"
                ),
                _item("API documentation", "api", "docs"),
            ],
        },
    ]


def _about_suites(request: HttpRequest) -> bool:
    return "/batches/test" in request.path


def _item(title: str, icon: str, route: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(route)}
