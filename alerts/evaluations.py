"""Each closed minute: the spans packed, all rules of a project judged, the outcome written whole.

One transaction for each project and minute holds states, history, episodes and what is told of
them. A unique key on (project, minute) lets one evaluator through; whoever dies leaves nothing.
"""

import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from access import heartbeats
from alerts import episodes, history, rollups, rules, watches
from alerts.episodes import Key, Turn
from alerts.rule_models import Alert, AlertRule, AlertStatus, EvaluationPass, Metric, RuleState
from alerts.rules import Policy
from alerts.watches import Result, Watch
from alerts.windows import KINDS, Series

logger = structlog.get_logger(__name__)
MINUTE = timedelta(minutes=1)
# What every process notes when it has been through all projects.
EVALUATION = "evaluation"
# Minutes of an outage that are noted as left out, one by one.
_MOST_SKIPPED = timedelta(days=1)
_COLUMNS = ", ".join(Watch._fields)


def evaluate(now: datetime) -> None:
    """Evaluate the newest closed minute of every project, once. Safe to call as often as wanted.

    A minute is taken up `EVALSCHED_ALERT_DELAY_SECONDS` after its end, as exporters send every few
    seconds. Of an outage only the newest minute is evaluated.
    """
    at = closed_minute(now)
    last = heartbeats.last(EVALUATION)
    if last is not None and last.found.get("minute") == _number(at):
        return
    started = time.monotonic()
    for project_id in _projects(at):
        try:
            evaluate_project(project_id, at=at, now=now)
        except Exception:
            logger.exception("rules not evaluated", project=str(project_id))
    # What another process is at is not done yet: it may die.
    if not _waiting(at).exists():
        took_ms = round((time.monotonic() - started) * 1000)
        heartbeats.note(EVALUATION, now=now, found={"minute": _number(at), "took_ms": took_ms})


def judged_until() -> datetime | None:
    """Return the end of the newest minute that is judged in all projects."""
    last = heartbeats.last(EVALUATION)
    return datetime.fromtimestamp(last.found["minute"] * 60, UTC) if last else None


def took() -> timedelta | None:
    """Return how long the last evaluation of all projects took."""
    last = heartbeats.last(EVALUATION)
    return timedelta(milliseconds=last.found.get("took_ms", 0)) if last else None


def overdue(now: datetime) -> int:
    """Return how many projects with enabled rules have not been evaluated for three minutes."""
    since = now - 3 * MINUTE
    watched = AlertRule.objects.filter(enabled=True, watched_from__lt=since)
    recent = EvaluationPass.objects.filter(minute__gte=since - MINUTE)
    late = watched.exclude(project_id__in=recent.values("project_id"))
    return late.values("project_id").distinct().count()


def closed_minute(now: datetime) -> datetime:
    """Return the end of the newest minute that may be judged."""
    due = now.astimezone(UTC) - timedelta(seconds=settings.EVALSCHED_ALERT_DELAY_SECONDS)
    return due.replace(second=0, microsecond=0)


def _number(minute: datetime) -> int:
    return int(minute.timestamp()) // 60


def evaluate_project(project_id: uuid.UUID, *, at: datetime, now: datetime) -> bool:
    """Evaluate the project's rules over the windows that end at `at`, unless it has been done.

    Return False as well where another process packs or evaluates: without what is being packed
    the minute would be judged as if it were empty. What cannot be packed or read is an error of
    all the rules, and a minute like any other.
    """
    problem = _pack(project_id, at, now)
    if problem is None:
        return False
    with transaction.atomic():
        if not _alone(project_id):
            return False
        found = _watches(project_id)
        if not found or not _claim(project_id, at, now):
            return False
        series = problem or _read(project_id, found, at)
        open_alerts = _open_alerts(project_id)
        turns = _turns(found, series, _states(project_id), open_alerts, at)
        quiet = [turn for turn in turns if turn.key in open_alerts]
        episodes.follow(quiet, open_alerts)
        changed = [turn for turn in turns if episodes.changes(turn)]
        if changed:
            episodes.apply(project_id, changed, open_alerts, at=at, now=now)
        episodes.heal({turn.key for turn in turns}, project_id)
        history.write(project_id, turns, at=at, now=now)
    return True


def _pack(project_id: uuid.UUID, at: datetime, now: datetime) -> str | None:
    """Pack what came; return what went wrong, or an empty text. None: another one is at it."""
    try:
        packed = rollups.pack(project_id, before=at, judged=_last_judged(project_id), now=now)
    except Exception as error:
        logger.exception("spans not packed", project=str(project_id))
        return f"The spans could not be packed: {type(error).__name__}."
    return None if packed is None else ""


def _read(project_id: uuid.UUID, found: Iterable[Watch], end: datetime) -> Series | str:
    """Return what the rules need, or why it could not be read."""
    try:
        # A statement that fails would otherwise take the whole minute with it.
        with transaction.atomic():
            return read_series(project_id, found, end=end)
    except Exception as error:
        logger.exception("minutes not read", project=str(project_id))
        return f"The minutes could not be read: {type(error).__name__}."


def read_series(project_id: uuid.UUID, found: Iterable[Watch], *, end: datetime) -> Series:
    """Read as many minutes, and single values, as the rules' windows need."""
    window, with_values, unusual = 1, dict.fromkeys(KINDS, 0), 0
    for watch in found:
        window = max(window, watch.time_window_minutes)
        if kind := watch.values_of:
            with_values[kind] = max(with_values[kind], watch.time_window_minutes)
        if watch.metric_type == Metric.ANOMALY_SEVERITY:
            unusual = max(unusual, watch.time_window_minutes)
    return Series(
        rollups.read(project_id, end=end, window=window, with_values=with_values),
        rollups.anomalies(project_id, end=end, window=unusual) if unusual else (),
    )


def _projects(at: datetime) -> list[uuid.UUID]:
    """Return the projects with something to pack or to evaluate."""
    watched = AlertRule.objects.filter(enabled=True).order_by("project_id")
    projects = set(watched.values_list("project_id", flat=True).distinct())
    return sorted(projects | set(rollups.dirty_projects(at)))


def _waiting(at: datetime) -> QuerySet[AlertRule]:
    """Return the enabled rules of the projects that nobody has evaluated up to `at`."""
    judged = EvaluationPass.objects.filter(minute__gte=at)
    return AlertRule.objects.filter(enabled=True).exclude(
        project_id__in=judged.values("project_id")
    )


def _alone(project_id: uuid.UUID) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s::text, 2))", [project_id]
        )
        return bool(cursor.fetchone()[0])


def _last_judged(project_id: uuid.UUID) -> datetime | None:
    passes = EvaluationPass.objects.filter(project_id=project_id).order_by("-minute")
    return passes.values_list("minute", flat=True).first()


def _claim(project_id: uuid.UUID, at: datetime, now: datetime) -> bool:
    """Take the minute, unless somebody has; note those that nobody took."""
    before = _last_judged(project_id)
    # A clock that went backwards has nothing to add to what was judged.
    if before is not None and before >= at:
        return False
    taken = EvaluationPass.objects.bulk_create(
        [
            EvaluationPass(
                project_id=project_id,
                minute=at,
                status=EvaluationPass.Status.EVALUATED,
                evaluated_at=now,
            )
        ]
    )
    if before is not None and before < at - MINUTE:
        _note_skipped(project_id, before + MINUTE, at, now)
    return bool(taken)


def _note_skipped(project_id: uuid.UUID, first: datetime, at: datetime, now: datetime) -> None:
    """Note the minutes that should have been evaluated since somebody watches."""
    rows = AlertRule.objects.filter(project_id=project_id, enabled=True)
    watched = rows.order_by("watched_from").values_list("watched_from", flat=True)[0]
    first = max(first, watched.replace(second=0, microsecond=0) + MINUTE, at - _MOST_SKIPPED)
    EvaluationPass.objects.bulk_create(
        (
            EvaluationPass(
                project_id=project_id,
                minute=first + number * MINUTE,
                status=EvaluationPass.Status.SKIPPED,
                evaluated_at=now,
            )
            for number in range(max((at - first) // MINUTE, 0))
        ),
        ignore_conflicts=True,
    )


def _watches(project_id: uuid.UUID) -> list[Watch]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM alerts_alertrule"  # noqa: S608  the names of the columns
            " WHERE project_id = %s AND enabled",
            [project_id],
        )
        return [Watch(*row) for row in cursor.fetchall()]


def _turns(
    found: Sequence[Watch],
    series: Series | str,
    states: Mapping[Key, RuleState],
    open_alerts: Mapping[Key, Alert],
    at: datetime,
) -> list[Turn]:
    known: dict[uuid.UUID, list[str]] = {}
    for rule_id, group in states:
        known.setdefault(rule_id, []).append(group)
    turns = []
    for watch in found:
        policy = watch.policy
        for result in _results(watch, policy, series, known.get(watch.id, ())):
            key = (watch.id, result.group)
            state, alert = states.get(key), open_alerts.get(key)
            step = rules.step(
                policy,
                episodes.memory_of(state),
                result.judged.finding,
                at,
                acknowledged=alert is not None and alert.acknowledged_at is not None,
            )
            turns.append(Turn(result, state, step))
    return turns


def _results(
    watch: Watch, policy: Policy, series: Series | str, known: Collection[str]
) -> list[Result]:
    if isinstance(series, str):
        return watches.failed(watch, series)
    return watches.look(watch, policy, series, known)


def _states(project_id: uuid.UUID) -> dict[Key, RuleState]:
    rows = RuleState.objects.filter(project_id=project_id)
    return {(state.rule_id, state.group): state for state in rows}


def _open_alerts(project_id: uuid.UUID) -> dict[Key, Alert]:
    rows = Alert.objects.filter(project_id=project_id, status=AlertStatus.FIRING)
    return {(alert.rule_id, alert.group): alert for alert in rows}
