"""The operator's home page. Reads only; a handful of queries."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce, TruncDate
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from access.admin import words
from access.admin.base import change_url, list_url
from access.admin.lists import first_id
from alerts import announcements, rollups, rulebook
from alerts.admin.alerts import AlertAdmin
from alerts.models import Alert, AlertRule, Trace
from alerts.rule_models import AlertStatus
from batches.admin.batches import TONES
from batches.models import Batch, ModelEndpoint, TestSuite
from evalsched.admin import history, standing
from evalsched.models import Run, RunStatus, RunTrigger, Schedule, ScheduleKind
from evalsched.schedules import PAUSED_WITH_ALL

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
class Firing:
    url: str
    name: str
    status: SafeString
    since: SafeString | str
    value: str
    condition: str
    buttons: SafeString


@dataclass(frozen=True)
class Spending:
    """What the batches started within a time cost; those without a known price are counted."""

    span: str
    cost: str
    batches: int
    calls: int
    unpriced: int


@dataclass(frozen=True)
class Day:
    """What a UTC day cost, where the price is known."""

    name: str
    batches: str
    traces: str


def home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the home page shows to its context."""
    now = timezone.now()
    evaluations = Run.objects.evaluations().select_related("schedule", "batch")
    latest = evaluations.order_by("-id")[:_LATEST]
    return context | {
        "due": _due(),
        "underway": _underway(),
        "firing": _firing(now),
        "watching": AlertRule.objects.filter(enabled=True).count(),
        "failing": _failing(now),
        "runs": [history.line(run) for run in latest],
        "spending": _spending(now),
        "days": _days(now),
        "steps": _steps(),
        "silent_since": _silent_since(now),
        "paused": _paused(),
        "schedules_url": list_url(Schedule),
        "failing_url": list_url(Schedule, "?status=failing"),
        "runs_url": list_url(Run),
        "batches_url": list_url(Batch),
        "alerts_url": list_url(Alert, "?status__exact=firing"),
        "rules_url": list_url(AlertRule),
        "traces_url": list_url(Trace),
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


def _firing(now: datetime) -> list[Firing]:
    """Return the open alerts, the newest first."""
    found = Alert.objects.filter(status=AlertStatus.FIRING).select_related("rule", "project")
    pages = admin.site.get_model_admin(Alert)
    assert isinstance(pages, AlertAdmin)
    return [
        Firing(
            url=change_url(alert),
            name=pages.about(alert),
            status=pages.state(alert),
            since=words.when(alert.started_at, now),
            value=pages.value(alert),
            condition=announcements.condition(alert.rule),
            buttons=pages.row_buttons(alert),
        )
        for alert in found.order_by("-started_at", "-pk")[:_LISTED]
    ]


def _paused() -> str:
    """Return what `pause_all` holds back, in words; empty when it is nothing."""
    schedules = Schedule.objects.filter(PAUSED_WITH_ALL).count()
    rules = AlertRule.objects.filter(enabled=False, pause_reason=rulebook.PAUSED_ALL).count()
    parts = [
        f"{count} {name}{'' if count == 1 else 's'}"
        for count, name in ((schedules, "schedule"), (rules, "alert rule"))
        if count
    ]
    return " and ".join(parts)


def _days(now: datetime) -> list[Day]:
    """Return what each of the last seven UTC days cost, today first."""
    today = now.astimezone(UTC).date()
    first = datetime.combine(today - 6 * _DAY, time.min, UTC)
    recent: QuerySet[Any] = Batch.objects.filter(
        id__gte=first_id(first), rescored_from__isnull=True, total_cost__isnull=False
    )
    by_day = recent.order_by().annotate(day=TruncDate("created_at", tzinfo=UTC)).values("day")
    batches = dict(by_day.annotate(cost=Sum("total_cost")).values_list("day", "cost"))
    traces = rollups.reported_cost(first)
    if not batches and not any(traces.values()):
        return []
    return [
        Day(
            name="Today" if day == today else f"{day:%a %Y-%m-%d}",
            batches=words.money(batches.get(day, Decimal(0))),
            traces=words.money(traces.get(day, Decimal(0))),
        )
        for day in (today - number * _DAY for number in range(7))
    ]


def _spending(now: datetime) -> list[Spending]:
    day, week = first_id(now - _DAY), first_id(now - _WEEK)
    # What was scored anew was paid for once.
    recent: QuerySet[Batch] = Batch.objects.filter(id__gte=week, rescored_from__isnull=True)
    sums = recent.aggregate(
        **_sums("week", Q()),
        **_sums("day", Q(id__gte=day)),
    )
    return [
        _spent("Batches, last 24 hours", "day", sums),
        _spent("Batches, last 7 days", "week", sums),
    ]


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
