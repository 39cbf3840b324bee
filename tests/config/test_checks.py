"""What the system checks say about settings that are missing, wrong or unsafe."""

import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from config.checks import _BOUNDS, print_configuration
from tests.processes_at_work import ROOT
from tests.servers import child_environment


def ids(*, deploy: bool = False) -> set[str]:
    found = run_checks(include_deployment_checks=deploy)
    return {str(message.id) for message in found if str(message.id).startswith("evalsched.")}


def test_the_settings_of_the_tests_are_fine() -> None:
    assert ids() == set()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SECRET_KEY", "", "E001"),
        ("SECRET_KEY", "short", "E001"),
        ("FIELD_ENCRYPTION_KEYS", [], "E002"),
        ("FIELD_ENCRYPTION_KEYS", ["x" * 32, "short"], "E003"),
        ("SERVICE_ROLE_KEY", "short", "E004"),
        ("EVALSCHED_TICK_SECONDS", 0, "E010"),
        ("EVALSCHED_LEASE_SECONDS", -1, "E010"),
        ("EVALSCHED_MAX_CONCURRENT_RUNS", 0, "E010"),
        ("EVALSCHED_RATE_LIMIT_READS", 0, "E010"),
        ("EVALSCHED_RATE_LIMIT_LOGINS", 0, "E010"),
        ("EVALSCHED_TRACE_RETENTION_DAYS", 999_999, "E010"),
        ("EVALSCHED_RESULT_RETENTION_DAYS", 999_999, "E010"),
        ("EVALSCHED_MIN_COVERAGE_PERCENT", 101, "E011"),
        ("EVALSCHED_MIN_COVERAGE_PERCENT", -1, "E011"),
        ("EVALSCHED_LOG_FORMAT", "xml", "E012"),
        ("DATABASES", {"default": {"ENGINE": "django.db.backends.sqlite3"}}, "E020"),
        ("PUBLIC_URL", "evals.example", "E021"),
        ("EVALSCHED_PRIVATE_HOSTS", ["10.0.0.0/99"], "E022"),
        ("REDIS_URL", "", "E023"),
        ("REDIS_URL", "zz", "E024"),
        ("REDIS_URL", "redis://host:port/1", "E024"),
        ("CELERY_BROKER_URL", "zz", "E025"),
    ],
)
@pytest.mark.filterwarnings("ignore:Overriding setting")
def test_a_setting_that_is_wrong_is_named(
    settings: Settings, name: str, value: Any, expected: str
) -> None:
    setattr(settings, name, value)

    assert ids(deploy=name == "SECRET_KEY") - {"evalsched.W001", "evalsched.W002"} == {
        f"evalsched.{expected}"
    }


def test_the_longest_days_can_be_counted_back() -> None:
    for name, (_, most) in _BOUNDS.items():
        if name.endswith("_DAYS"):
            assert timezone.now() - timedelta(days=most), name


@pytest.mark.parametrize("name", ["SERVICE_ROLE_KEY", "EVALSCHED_METRICS_TOKEN"])
def test_a_way_in_that_is_closed_is_no_complaint(settings: Settings, name: str) -> None:
    setattr(settings, name, "")

    assert ids() == set()


def test_production_is_warned_of_what_belongs_on_a_laptop(settings: Settings) -> None:
    settings.EVALSCHED_DEMO = True
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.0/8"]

    assert ids() == set()
    assert ids(deploy=True) == {"evalsched.W001", "evalsched.W002"}


def test_the_configuration_is_printed_without_its_secrets(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SERVICE_ROLE_KEY = "role-" + "s" * 40
    settings.CELERY_BROKER_URL = "redis://user:broker-password@redis.example:6379/0"
    settings.EVALSCHED_METRICS_TOKEN = "metrics-token"
    settings.EVALSCHED_ADMIN_PASSWORD = "admin-password"

    print_configuration()

    for secret in (
        settings.SECRET_KEY,
        *settings.FIELD_ENCRYPTION_KEYS,
        settings.SERVICE_ROLE_KEY,
        "broker-password",
        "metrics-token",
        "admin-password",
    ):
        assert secret not in caplog.text
    assert "'SERVICE_ROLE_KEY': 'configured'" in caplog.text
    assert "redis://…@redis.example:6379/0" in caplog.text
    assert "'lease_seconds': 3" in caplog.text


@pytest.mark.processes
@pytest.mark.parametrize(
    "command",
    [
        ("celery", "-A", "config.celery", "worker", "--pool", "solo"),
        ("celery", "-A", "config.celery", "beat", "--pidfile="),
        ("gunicorn", "config.wsgi", "--no-control-socket", "--bind", "127.0.0.1:0"),
    ],
    ids=["worker", "beat", "web"],
)
@pytest.mark.django_db
def test_no_process_starts_without_its_secrets(command: tuple[str, ...]) -> None:
    database = str(connection.settings_dict["NAME"])
    env = child_environment(database) | {"SECRET_KEY": "short"}

    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )

    assert ended.returncode != 0
    assert "SECRET_KEY is missing or short." in ended.stdout + ended.stderr


def _settings(asked: str, **environment: str) -> list[str]:
    """Return what the settings hold under an environment, as words."""
    ended = subprocess.run(
        [sys.executable, "-c", f"from config import settings as s; print({asked})"],
        cwd=ROOT,
        env=child_environment("any") | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return ended.stdout.split()


def test_https_is_https_however_it_is_spelt() -> None:
    held = _settings("s.PUBLIC_URL, s.SESSION_COOKIE_SECURE", PUBLIC_URL="HTTPS://evals.example/")

    assert held == ["https://evals.example", "True"]


def test_migrations_take_as_long_as_they_need() -> None:
    asked = "s.DATABASES['default']['OPTIONS']['options']"

    migrating = _settings(asked, EVALSCHED_PROCESS="migrate")
    answering = _settings(asked, EVALSCHED_PROCESS="web")

    assert {"statement_timeout=0", "lock_timeout=0"} <= set(migrating)
    assert {"statement_timeout=10000", "lock_timeout=5000"} <= set(answering)
