"""The first operator, and a demonstration that evaluates by itself. Made once, found again."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction

from access import keys, projects, users
from access.actors import ALL_SCOPES, Actor
from access.models import Role, User
from batches import cases, endpoints, suites
from batches.models import ModelEndpoint, Provider, TestSuite
from config.demo.cases import CASES
from evalsched import schedules
from evalsched.models import Run, RunStatus, Schedule, ScheduleType

MODEL = "Demo model"
SUITE = "Demo questions"
SCHEDULE = "Demo: every 15 minutes"


@dataclass(frozen=True)
class FirstTime:
    """What is shown once. `created` False: all of it was made at an earlier start."""

    username: str
    password: str
    api_key: str
    created: bool


def prepare(*, demo: bool, now: datetime) -> FirstTime:
    """Make the first operator with a key and, where `demo`, the demonstration data."""
    with transaction.atomic():
        operator = users.ensure_operator(
            username=settings.EVALSCHED_ADMIN_USERNAME,
            password=settings.EVALSCHED_ADMIN_PASSWORD,
            email=settings.EVALSCHED_ADMIN_EMAIL,
        )
        actor = _actor(operator.user)
        if operator.password is None:
            return FirstTime(operator.user.username, "", "", created=False)
        _, key = keys.create(actor, name="first steps", scopes=["read", "write"], now=now)
        if demo:
            _make_demo(actor, now)
        return FirstTime(operator.user.username, operator.password, key, created=True)


def on_ready(now: datetime) -> None:
    """Make the demonstration's schedule due, so that a newcomer sees it run at once.

    On every start: whoever stopped it yesterday sees it work again today. A schedule that
    somebody switched off stays off.
    """
    Schedule.objects.filter(name=SCHEDULE, is_active=True, suite__name=SUITE).update(
        next_run_at=now
    )


def first_completed() -> str | None:
    """Return a sentence about the demonstration's latest completed run, if there is one."""
    run = (
        Run.objects.filter(schedule__name=SCHEDULE, status=RunStatus.COMPLETED)
        .select_related("batch")
        .order_by("-completed_at")
        .first()
    )
    if run is None or run.batch is None or run.avg_quality_score is None:
        return None
    return (
        f"evaluation completed: {run.batch.passed} of {run.total_prompts} cases passed, "
        f"quality {run.avg_quality_score:.2f}. See "
        f"{settings.PUBLIC_URL}/admin/evalsched/run/{run.pk}/change/"
    )


def _actor(user: User) -> Actor:
    return Actor(
        user=user,
        project=projects.personal_of(user),
        role=Role.ADMIN,
        scopes=ALL_SCOPES,
        via="command",
    )


def _make_demo(actor: Actor, now: datetime) -> None:
    endpoint = _endpoint(actor)
    suite = _suite(actor)
    schedules.create(
        actor,
        now=now,
        name=SCHEDULE,
        description="Asks the demonstration model twenty questions, three of them too hard for it.",
        schedule_type=ScheduleType.CUSTOM,
        cron_expression="*/15 * * * *",
        suite=suite,
        endpoint=endpoint,
        # As many as the demonstration endpoint takes at once.
        batch_test_config={"concurrency": 4},
    )


def _endpoint(actor: Actor) -> ModelEndpoint:
    return endpoints.create(
        actor,
        name=MODEL,
        provider=Provider.DEMO,
        model="demo",
        price_input="0.15",
        price_output="0.60",
    )


def _suite(actor: Actor) -> TestSuite:
    suite = suites.create(actor, name=SUITE, description="What the demonstration model is asked.")
    suites.put(actor, suite, [cases.draft(case) for case in CASES])
    suite.refresh_from_db()
    return suite
