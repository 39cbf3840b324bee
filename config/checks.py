"""System checks: what is missing or wrong in the settings, and what to do about it."""

import sys
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.core.checks import ERROR, CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from access.addresses import PrivateHosts
from access.errors import Refusal

logger = structlog.get_logger(__name__)
_SHORTEST_SECRET = 32


# A hundred years of days, so that a date so long ago can still be written; a week of seconds.
_DAYS, _WEEK, _MANY = 36_500, 604_800, 1_000_000
# What each number may be: beyond these the service would stand still or fail at its work.
_BOUNDS = {
    "EVALSCHED_TICK_SECONDS": (1, 3600),
    "EVALSCHED_LEASE_SECONDS": (1, 3600),
    "EVALSCHED_SLICE_SECONDS": (1, 3600),
    "EVALSCHED_SOFT_SHUTDOWN_SECONDS": (0, 3600),
    "EVALSCHED_MAX_CONCURRENT_RUNS": (1, _MANY),
    "EVALSCHED_MAX_CONCURRENT_MODEL_RUNS": (1, _MANY),
    "EVALSCHED_RUN_TIMEOUT_SECONDS": (1, _WEEK),
    "EVALSCHED_MAX_CONSECUTIVE_FAILURES": (1, 32_767),
    "EVALSCHED_CLEANUP_MINUTES": (1, 10_080),
    "EVALSCHED_EXPERIMENT_DEFAULT_DAYS": (1, _DAYS),
    "EVALSCHED_RESULT_RETENTION_DAYS": (1, _DAYS),
    "EVALSCHED_EVALUATION_RETENTION_DAYS": (1, _DAYS),
    "EVALSCHED_TRACE_RETENTION_DAYS": (1, _DAYS),
    "EVALSCHED_EXPERIMENT_MAX_DOCUMENTS": (1, _MANY),
    "EVALSCHED_EXPERIMENT_MAX_PER_USER": (1, _MANY),
    "EVALSCHED_RATE_LIMIT_READS": (1, _MANY),
    "EVALSCHED_RATE_LIMIT_WRITES": (1, _MANY),
    "EVALSCHED_RATE_LIMIT_INGEST": (1, _MANY),
    "EVALSCHED_RATE_LIMIT_LOGINS": (1, _MANY),
    "EVALSCHED_RATE_LIMIT_REFUSED": (1, _MANY),
    "EVALSCHED_MAX_BODY_BYTES": (1, 2**31 - 1),
    "EVALSCHED_MAX_BODY_IMPORT_BYTES": (1, 2**31 - 1),
    "EVALSCHED_MAX_BODY_TRACES_BYTES": (1, 2**31 - 1),
}


@register(Tags.security)
def secrets_are_set(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if len(_secret_key()) < _SHORTEST_SECRET:
        hint = "Set SECRET_KEY to a long random text, the same for all processes."
        found.append(Error("SECRET_KEY is missing or short.", hint=hint, id="evalsched.E001"))
    if not settings.FIELD_ENCRYPTION_KEYS:
        hint = "Set FIELD_ENCRYPTION_KEYS: comma list, newest first, 32 random characters or more."
        found.append(Error("FIELD_ENCRYPTION_KEYS is missing.", hint=hint, id="evalsched.E002"))
    if any(len(key) < _SHORTEST_SECRET for key in settings.FIELD_ENCRYPTION_KEYS):
        hint = "Use 32 random characters or more for each key."
        found.append(
            Error("A key in FIELD_ENCRYPTION_KEYS is short.", hint=hint, id="evalsched.E003")
        )
    if settings.SERVICE_ROLE_KEY and len(settings.SERVICE_ROLE_KEY) < _SHORTEST_SECRET:
        hint = "Use 32 random characters or more, or leave it unset."
        found.append(Error("SERVICE_ROLE_KEY is short.", hint=hint, id="evalsched.E004"))
    return found


def _secret_key() -> str:
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured:  # Django's own way of saying that it is empty
        return ""


@register()
def numbers_are_sensible(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = [
        Error(f"{name} must lie in {least}..{most}.", id="evalsched.E010")
        for name, (least, most) in _BOUNDS.items()
        if not least <= getattr(settings, name) <= most
    ]
    if not 0 <= settings.EVALSCHED_MIN_COVERAGE_PERCENT <= 100:  # noqa: PLR2004
        found.append(
            Error("EVALSCHED_MIN_COVERAGE_PERCENT must lie in 0..100.", id="evalsched.E011")
        )
    if settings.EVALSCHED_TRACE_CONTENT not in {"off", "truncated", "full"}:
        found.append(
            Error("EVALSCHED_TRACE_CONTENT is off, truncated or full.", id="evalsched.E013")
        )
    if not 0 <= settings.EVALSCHED_ALERT_DELAY_SECONDS <= 60:  # noqa: PLR2004
        found.append(Error("EVALSCHED_ALERT_DELAY_SECONDS must lie in 0..60.", id="evalsched.E014"))
    if settings.EVALSCHED_LOG_FORMAT not in {"json", "console"}:
        found.append(Error("EVALSCHED_LOG_FORMAT is json or console.", id="evalsched.E012"))
    return found


@register()
def addresses_are_usable(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    engine = settings.DATABASES["default"]["ENGINE"]
    if engine != "django.db.backends.postgresql":
        hint = "Set DATABASE_URL to postgres://user:password@host/name, or leave it unset."
        found.append(Error("Only PostgreSQL is supported.", hint=hint, id="evalsched.E020"))
    if urlsplit(settings.PUBLIC_URL).scheme not in {"http", "https"}:
        hint = "Set PUBLIC_URL to the address people use, like https://evals.example."
        found.append(Error("PUBLIC_URL is no http address.", hint=hint, id="evalsched.E021"))
    try:
        PrivateHosts.parse(settings.EVALSCHED_PRIVATE_HOSTS)
    except Refusal as refusal:
        hint = "Give a comma list of host names and CIDRs."
        found.append(Error(refusal.message, hint=hint, id="evalsched.E022"))
    if not settings.REDIS_URL:
        hint = "Set REDIS_URL: the broker is no Redis that rate limits could use as well."
        found.append(Error("REDIS_URL is missing.", hint=hint, id="evalsched.E023"))
    elif not _is_redis(settings.REDIS_URL):
        hint = "Set it to redis://host:6379/1, rediss:// with TLS, or unix:///path?db=1."
        found.append(Error("REDIS_URL is no address of Redis.", hint=hint, id="evalsched.E024"))
    if "://" not in settings.CELERY_BROKER_URL:
        hint = "Set it to redis://host:6379/0, or redis+socket:///path?virtual_host=0."
        found.append(Error("CELERY_BROKER_URL is no address.", hint=hint, id="evalsched.E025"))
    return found


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port  # raises where it is no number
    except ValueError:
        return False
    return parts.scheme in {"redis", "rediss", "unix"} and port != 0


@register(Tags.security, deploy=True)
def production_is_safe(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.EVALSCHED_DEMO:
        hint = "Unset EVALSCHED_DEMO: it serves a model endpoint and makes demonstration data."
        found.append(Warning("EVALSCHED_DEMO is on.", hint=hint, id="evalsched.W001"))
    if settings.EVALSCHED_PRIVATE_HOSTS:
        hint = "Keep the list short: whoever may add an endpoint can reach these hosts."
        found.append(
            Warning("Outgoing calls may reach private hosts.", hint=hint, id="evalsched.W002")
        )
    return found


def refuse_unsafe_start() -> None:
    """End the process where the settings would not let it do its work, saying what to set.

    Commands run Django's checks by themselves; web, worker and beat call this.
    """
    checks = (secrets_are_set, numbers_are_sensible, addresses_are_usable)
    errors = [found for check in checks for found in check() if found.level >= ERROR]
    if errors:
        sys.exit("\n".join(f"{error.id}: {error.msg} {error.hint or ''}" for error in errors))


def print_configuration() -> None:
    """Log what this process runs with; secrets only as `configured` or `missing`."""
    values = {
        "SECRET_KEY": _secret_key(),
        "FIELD_ENCRYPTION_KEYS": settings.FIELD_ENCRYPTION_KEYS,
        "SERVICE_ROLE_KEY": settings.SERVICE_ROLE_KEY,
    }
    secret = {name: "configured" if value else "missing" for name, value in values.items()}
    plain = {
        name.removeprefix("EVALSCHED_").lower(): getattr(settings, name)
        for name in dir(settings)
        if name.startswith("EVALSCHED_") and not name.endswith(("PASSWORD", "TOKEN"))
    }
    database = settings.DATABASES["default"]
    logger.info(
        "configuration",
        database=f"{database['HOST'] or 'local'}/{database['NAME']}",
        broker=_without_password(settings.CELERY_BROKER_URL),
        public_url=settings.PUBLIC_URL,
        data_dir=str(settings.EVALSCHED_DATA_DIR),
        **secret,
        **{name: value for name, value in plain.items() if name != "data_dir"},
    )


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else url
