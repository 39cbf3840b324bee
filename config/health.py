"""Is the process alive, and can it serve."""

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from redis import Redis
from redis.exceptions import RedisError

_PATIENCE_SECONDS = 2


def alive(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "alive"})


def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, broker and migrations are as the code needs them, else 503."""
    parts = {"database": _database(), "broker": _broker()}
    if parts["database"] == "ok":
        parts["migrations"] = _migrations()
    well = all(state == "ok" for state in parts.values())
    return JsonResponse(
        {"status": "ready" if well else "not ready", **parts},
        status=200 if well else 503,
        headers={} if well else {"Retry-After": "5"},
    )


def _database() -> str:
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception:  # noqa: BLE001  whatever is wrong, it is not ready, and says no more here
        return "unreachable"
    return "ok"


def _broker() -> str:
    url = settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://")
    url = url.replace("virtual_host=", "db=")
    try:
        with Redis.from_url(
            url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS
        ) as redis:
            redis.ping()
    except (RedisError, OSError):
        return "unreachable"
    return "ok"


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return "ok" if not pending else f"{len(pending)} not applied: run manage.py migrate"
