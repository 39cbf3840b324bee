"""Is the process alive, can it serve, and does the scheduler do its work."""

from typing import Any

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from access import clock
from config import queues
from evalsched import invariants, occurrences, pulse

RETRY = {"Retry-After": "5"}


def alive(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "alive"})


def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, broker and migrations are as the code needs them, else 503."""
    parts = {
        "database": _database(),
        "broker": "ok" if queues.reachable() else "unreachable",
    }
    if parts["database"] == "ok":
        parts["migrations"] = _migrations()
    well = all(state == "ok" for state in parts.values())
    return _answer({"status": "ready" if well else "not ready", **parts}, well=well)


def scheduler(request: HttpRequest) -> JsonResponse:
    """Answer 200 while ticks run and nothing is overdue, else 503 with what to look at."""
    try:
        now = clock.database_now()
        measured = vars(pulse.taken(now))
        broken = invariants.last_counts()
    except DatabaseError:
        return _answer({"status": "database unreachable"}, well=False)
    stuck = measured.pop("stuck")
    about: dict[str, Any] = {
        "status": stuck or "ok",
        **measured,
        "queue_messages": queues.lengths(),
        "broken_invariants": {name: count for name, count in broken.items() if count},
        "tzdata_version": occurrences.tzdata_version(),
    }
    return _answer(about, well=not stuck)


def _answer(about: dict[str, Any], *, well: bool) -> JsonResponse:
    return JsonResponse(about, status=200 if well else 503, headers={} if well else RETRY)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "unreachable"
    return "ok"


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return "ok" if not pending else f"{len(pending)} not applied: run manage.py migrate"
