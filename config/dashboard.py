"""The operator's home page and the admin's navigation. Reads only; a handful of queries."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from access.admin import words
from access.admin.base import change_url, list_url
from access.admin.lists import first_id
from batches.admin.batches import TONES
from batches.models import Batch, ModelEndpoint, TestSuite
from evalsched.admin import history, standing
from evalsched.models import Run, RunStatus, RunTrigger, Schedule, ScheduleKind

_DUE = 5
_LATEST = 8
_LISTED = 10
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
# Beat writes down when it last sent the tick; this is several ticks, whatever their length.
_SILENCE = timedelta(minutes=2)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Due:
    url: str
    name: str
    next_run: SafeString | str
    in_words: str
    model: str


@dataclass(frozen=True)
class Underway:
    url: str
    name: str
    status: SafeString
    progress: SafeString | str


@dataclass(frozen=True)
class Failing:
    url: str
    name: str
    status: SafeString
    since: SafeString | str
    why: str


@dataclass(frozen=True)
class Spending:
    """What the batches started within a time cost; those without a known price are counted."""

    span: str
    cost: str
    batches: int
    calls: int
    unpriced: int


def home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the home page shows to its context."""
    now = timezone.now()
    evaluations = Run.objects.evaluations().select_related("schedule", "batch")
    latest = evaluations.order_by("-id")[:_LATEST]
    return context | {
        "due": _due(),
        "underway": _underway(),
        "failing": _failing(now),
        "runs": [history.line(run) for run in latest],
        "spending": _spending(now),
        "steps": _steps(),
        "silent_since": _silent_since(now),
        "schedules_url": list_url(Schedule),
        "failing_url": list_url(Schedule, "?status=failing"),
        "runs_url": list_url(Run),
        "batches_url": list_url(Batch),
    }


def _due() -> list[Due]:
    waiting = Schedule.objects.evaluations().filter(next_run_at__isnull=False)
    soonest = waiting.select_related("endpoint", "agent__endpoint")
    return [
        Due(
            url=change_url(schedule),
            name=schedule.name,
            next_run=standing.next_run(schedule),
            in_words=standing.in_words(schedule),
            model=standing.who_answers(schedule),
        )
        for schedule in soonest.order_by("next_run_at")[:_DUE]
    ]


def _underway() -> list[Underway]:
    """Return open runs, oldest first, and the batches that run for no schedule."""
    evaluations = Run.objects.evaluations().open().select_related("schedule", "batch")
    runs = evaluations.order_by("scheduled_for")
    alone = Batch.objects.evaluations().open().filter(runs__isnull=True).order_by("created_at")
    shown = [
        Underway(change_url(run), run.schedule.name, standing.of_run(run), _progress(run))
        for run in runs[:_LISTED]
    ]
    shown += [
        Underway(
            change_url(batch),
            str(batch),
            words.label(batch.status, TONES[batch.status]),
            words.progress(batch.done, batch.total),
        )
        for batch in alone[:_LISTED]
    ]
    return shown


def _progress(run: Run) -> SafeString | str:
    return standing.results(run) if run.batch else "waits for its turn"


def _failing(now: datetime) -> list[Failing]:
    """Return what fails: since the first failure after the last success, and why it last did."""
    scheduled = Run.objects.filter(schedule=OuterRef("pk"), trigger=RunTrigger.SCHEDULE)
    good = scheduled.filter(status=RunStatus.COMPLETED).order_by("-completed_at")
    failed = scheduled.filter(status=RunStatus.FAILED)
    found: QuerySet[Any] = (
        Schedule.objects.filter(
            Q(consecutive_failures__gt=0) | standing.DISABLED, kind=ScheduleKind.EVALUATION
        )
        .annotate(last_good=Coalesce(Subquery(good.values("completed_at")[:1]), Value(_EPOCH)))
        .annotate(
            failing_since=Subquery(
                failed.filter(completed_at__gt=OuterRef("last_good"))
                .order_by("completed_at")
                .values("completed_at")[:1]
            ),
            last_error=Subquery(failed.order_by("-completed_at").values("error_message")[:1]),
        )
        .order_by("-consecutive_failures", "name")
    )
    return [
        Failing(
            url=change_url(schedule),
            name=schedule.name,
            status=standing.of_schedule(schedule),
            since=words.when(schedule.failing_since or schedule.last_run_at, now),
            why=schedule.pause_reason or schedule.last_error or "",
        )
        for schedule in found[:_LISTED]
    ]


def _spending(now: datetime) -> list[Spending]:
    day, week = first_id(now - _DAY), first_id(now - _WEEK)
    # What was scored anew was paid for once.
    recent: QuerySet[Batch] = Batch.objects.filter(id__gte=week, rescored_from__isnull=True)
    sums = recent.aggregate(
        **_sums("week", Q()),
        **_sums("day", Q(id__gte=day)),
    )
    return [_spent("Last 24 hours", "day", sums), _spent("Last 7 days", "week", sums)]


def _sums(name: str, within: Q) -> dict[str, Any]:
    return {
        f"{name}_cost": Sum("total_cost", filter=within),
        f"{name}_calls": Sum("done", filter=within),
        f"{name}_batches": Count("id", filter=within),
        f"{name}_unpriced": Count("id", filter=within & Q(total_cost__isnull=True, done__gt=0)),
    }


def _spent(span: str, name: str, sums: dict[str, Any]) -> Spending:
    cost: Decimal | None = sums[f"{name}_cost"]
    nothing = Decimal(0) if not sums[f"{name}_unpriced"] else None
    return Spending(
        span=span,
        cost=words.money(nothing if cost is None else cost),
        batches=sums[f"{name}_batches"],
        calls=sums[f"{name}_calls"] or 0,
        unpriced=sums[f"{name}_unpriced"],
    )


def _steps() -> list[dict[str, Any]]:
    """Return what is left to do before anything can run, or nothing once there is a schedule."""
    if Schedule.objects.evaluations().exists():
        return []
    parts: list[tuple[type[Any], str]] = [
        (ModelEndpoint, "Add a model endpoint and press Check"),
        (TestSuite, "Add a test suite and give it cases"),
    ]
    steps = [
        {"done": model.objects.exists(), "url": list_url(model) + "add/", "words": sentence}
        for model, sentence in parts
    ]
    last = {"done": False, "url": list_url(Schedule) + "add/", "words": "Add a schedule"}
    return [*steps, last]


def _silent_since(now: datetime) -> str:
    """Return since when no tick was sent, in words; empty when the scheduler is at work."""
    tick = PeriodicTask.objects.filter(name="evalsched.tick").first()
    if tick is None or not tick.enabled:
        return "its entry evalsched.tick is missing or disabled"
    if tick.last_run_at is None:
        return "it has never ticked"
    if now - tick.last_run_at > _SILENCE:
        return f"its last tick was {words.relative(tick.last_run_at, now)}"
    return ""


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
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
