"""The admin in a browser: nothing from elsewhere, no errors in the console, usable on a phone."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib import admin
from django.db import models
from django.test import Client
from playwright.sync_api import Browser, FilePayload, Page
from pytest_django.live_server_helper import LiveServer

from access.actors import Actor
from access.clock import database_now
from alerts import evaluations
from alerts.models import Alert, AlertRule, Channel, Event, Notification, Preference, Trace
from batches.models import Batch, Job, TestCase, TestSuite
from evalsched.models import Run, RunStatus, RunTrigger, Schedule
from tests.admin.pages import list_of, url_of
from tests.evalsched.compared_runs import make_completed
from tests.factories import (
    make_actor,
    make_batch,
    make_channel,
    make_endpoint,
    make_key,
    make_member,
    make_notification,
    make_preference,
    make_rule,
    make_run,
    make_schedule,
    make_span,
    make_suite,
    make_user,
    store_spans,
)

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@dataclass
class Visit:
    """A browser's page of somebody who is logged in, and everything it complained about."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        answer = self.page.goto(self.base + path)
        assert answer is not None
        if not answer.ok:
            self.complaints.append(f"{path}: {answer.status}")
        self.page.wait_for_load_state("networkidle")
        return self.page


def keep_picture(page: Page, path: str) -> None:
    """Keep what was seen where SCREENSHOTS names a directory, for somebody to look at."""
    directory = os.environ.get("SCREENSHOTS")
    if directory:
        size = page.viewport_size
        width = size["width"] if size else 0
        name = re.sub(r"[^a-z]+", "-", path).strip("-")
        page.screenshot(path=Path(directory) / f"{name}-{width}.png", full_page=True)


@pytest.fixture
def own(transactional_db: None) -> Actor:
    return make_actor(make_user("operator", superuser=True))


@pytest.fixture(params=SIZES)
def visit(
    request: pytest.FixtureRequest, chromium: Browser, live_server: LiveServer, own: Actor
) -> Iterator[Visit]:
    client = Client()
    client.force_login(own.user)
    width, height = SIZES[request.param]
    context = chromium.new_context(viewport={"width": width, "height": height})
    cookie = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    made = Visit(context.new_page(), live_server.url)
    listen(made)
    yield made
    context.close()


def listen(visit: Visit) -> None:
    own = (visit.base, "data:", "blob:")
    page, complaints = visit.page, visit.complaints
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None,
    )
    page.on(
        "request",
        lambda sent: None if sent.url.startswith(own) else complaints.append(sent.url),
    )


def furnish(own: Actor) -> list[models.Model]:
    """Make a row of everything and return those whose pages are worth a visit."""
    suite = make_suite(own, cases=3)
    schedule = make_schedule(own, now=database_now(), suite=suite)
    batch = make_batch(own, suite=suite)
    for _ in range(3):
        make_run(schedule, status=RunStatus.COMPLETED, batch=batch, avg_latency_ms=120.0)
    failed = make_run(schedule, status=RunStatus.FAILED, trigger=RunTrigger.SCHEDULE)
    make_run(schedule, status=RunStatus.RUNNING, batch=batch)
    Schedule.objects.filter(pk=schedule.pk).update(consecutive_failures=1)
    key, _ = make_key(own)
    notification = make_notification()
    job, case = Job.objects.all()[0], TestCase.objects.all()[0]
    return [
        *(schedule, suite, batch, failed, key, job, case, make_endpoint(own), own.user),
        *(make_member().project, notification, notification.event),
        *(make_watched(own), Alert.objects.all()[0], Trace.objects.all()[0], make_channel(own)),
        make_preference(own),
    ]


def make_watched(own: Actor) -> AlertRule:
    """Make a rule that fires, with half an hour of spans and of history, told of by mail."""
    now = database_now()
    rule = make_rule(own, now=now - timedelta(minutes=40), rule_name="Slow chats", renotify=False)
    spans = [
        make_span(
            number,
            ended_at=now - timedelta(seconds=10 * number),
            model=f"model-{number % 3}",
            latency_ms=200.0 + 37 * (number % 17),
            status="error" if number % 9 == 0 else "success",
            cost=Decimal("0.0123"),
            attributes={"gen_ai.request.model": f"model-{number % 3}", "a.long.one": "x" * 400},
        )
        for number in range(200)
    ]
    store_spans(own, spans, now=now)
    end = now.replace(second=0, microsecond=0)
    for ago in reversed(range(30)):
        at = end - timedelta(minutes=ago)
        evaluations.evaluate_project(own.project.pk, at=at, now=at)
    return rule


def test_every_page_is_clean_and_fits_its_screen(visit: Visit, own: Actor) -> None:
    rows = furnish(own)
    made_by_hand = (Schedule, TestSuite, type(rows[7]), AlertRule, Channel, Preference)
    adding = [list_of(model, "add") for model in made_by_hand]
    lists = [list_of(model) for model in admin.site._registry]
    too_wide = []

    for path in ["/admin/", *lists, *adding, *(url_of(row) for row in rows)]:
        page = visit.open(path)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            too_wide.append(path)
        keep_picture(page, path)

    assert visit.complaints == []
    assert too_wide == []


def test_the_pages_of_a_regression_are_clean_and_fit(visit: Visit, own: Actor) -> None:
    schedule = make_schedule(own, suite=make_suite(own, cases=40), name="Nightly")
    make_completed(schedule)
    regressed = make_completed(schedule, hours=1, wrong=range(1, 16), latency_ms=130)

    for path in (url_of(regressed), url_of(schedule), list_of(Run)):
        page = visit.open(path)
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), path
        keep_picture(page, f"regression {path}")
    page.get_by_role("button", name="Use as baseline").first.click()
    page.wait_for_selector("text=are compared with this one from now on")

    assert visit.complaints == []


@pytest.mark.parametrize(
    "model",
    [Schedule, Run, Batch, Job, Event, Notification, Trace, AlertRule, Alert, Channel, Preference],
)
def test_empty_lists_are_clean_too(visit: Visit, model: type[models.Model]) -> None:
    visit.open(list_of(model))

    assert visit.page.get_by_role("heading", name="yet").is_visible()
    assert visit.complaints == []


def test_an_alert_is_acknowledged_from_home_and_its_message_sent_again(
    visit: Visit, own: Actor
) -> None:
    rule = make_watched(own)
    page = visit.open("/admin/")
    keep_picture(page, "/home-firing")

    page.get_by_role("button", name="Acknowledge").click()
    page.wait_for_selector("text=is acknowledged")
    home = page.url
    page.get_by_role("link", name=rule.rule_name).click()
    page.get_by_role("link", name="while it fired").click()
    page.get_by_role("link", name="Firing: Slow chats").first.click()
    page.get_by_role("link", name="Who was told, and how").click()

    assert home.endswith("/admin/")
    assert Alert.objects.get().acknowledged_by == own.user
    assert own.user.email in page.locator("#result_list").inner_text()
    assert visit.complaints == []


def test_a_rule_is_made_in_the_browser_and_a_senseless_one_refused(
    visit: Visit, own: Actor
) -> None:
    make_rule(own)
    page = visit.open(list_of(AlertRule, "add"))

    page.fill("#id_rule_name", "Failing")
    page.select_option("#id_metric_type", "error_rate")
    page.select_option("#id_aggregation_method", "p95")
    page.fill("#id_threshold_value", "5")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector("text=For error_rate this is one of: avg, count, sum.")
    page.select_option("#id_aggregation_method", "avg")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(f"**{list_of(AlertRule)}")

    assert "avg of error rate > 5 % over 5 min" in page.content().replace("&gt;", ">")
    assert visit.complaints == []


def test_the_preview_follows_what_is_typed(visit: Visit, own: Actor) -> None:
    page = visit.open(list_of(Schedule, "add"))
    page.wait_for_selector(".es-preview li")
    hidden = not page.locator("#id_cron_expression").is_visible()

    page.select_option("#id_schedule_type", "custom")
    page.fill("#id_cron_expression", "30 6 * * MON")
    page.wait_for_selector(".es-preview li:has-text('06:30 UTC')")
    page.fill("#id_cron_expression", "61 * * * *")
    page.wait_for_selector(".es-preview .bad")

    assert hidden
    assert page.locator(".es-preview li").count() == 0
    assert visit.complaints == []


def test_a_schedules_limits_and_its_history(visit: Visit, own: Actor) -> None:
    schedule = make_schedule(own, now=database_now(), name="Nightly")
    for number in range(30):
        batch = make_batch(own, suite=schedule.suite)
        Batch.objects.filter(pk=batch.pk).update(done=3, passed=number % 4, failed=3 - number % 4)
        at = database_now() - timedelta(hours=30 - number)
        make_run(
            schedule,
            scheduled_for=at,
            status=RunStatus.COMPLETED,
            batch=batch,
            avg_latency_ms=100.0 + 13 * (number % 7),
        )
    page = visit.open(url_of(schedule))

    page.get_by_text("Limits", exact=True).click()
    page.fill("#id_max_runs", "5")
    page.get_by_text("Pause", exact=True).click()
    page.fill("#id_pause_reason", "Moving the servers.")
    page.fill("#id_paused_until_0", "2040-01-01")
    page.fill("#id_paused_until_1", "00:00:00")
    keep_picture(page, "/schedule-with-limits")
    page.get_by_role("button", name="Save and continue editing").click()
    page.wait_for_selector("text=Until 2040-01-01")
    keep_picture(page, "/schedule-paused")

    schedule.refresh_from_db()
    assert schedule.max_runs == 5
    assert page.get_by_role("img", name="Cases passed, 30 runs").is_visible()
    assert visit.complaints == []


def test_run_now_is_one_press_in_the_list(visit: Visit, own: Actor) -> None:
    make_schedule(own, name="Nightly")
    page = visit.open(list_of(Schedule))

    page.get_by_role("button", name="Run now").click()
    page.wait_for_selector("text=was started by hand")

    assert Run.objects.get().trigger == RunTrigger.MANUAL
    assert page.url.endswith(list_of(Schedule))


def test_a_schedule_is_made_in_the_browser(visit: Visit, own: Actor) -> None:
    suite, endpoint = make_suite(own), make_endpoint(own)
    page = visit.open(list_of(Schedule, "add"))

    page.fill("#id_name", "Nightly")
    page.select_option("#id_suite", str(suite.pk))
    page.select_option("#id_endpoint", str(endpoint.pk))
    page.fill("#id_timezone", "Europe/Berlin")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(f"**{list_of(Schedule)}")

    made = Schedule.objects.get()
    assert (made.name, made.timezone, made.schedule_type) == ("Nightly", "Europe/Berlin", "daily")


def test_rows_of_assertions_can_be_added(visit: Visit, own: Actor) -> None:
    suite = make_suite(own, cases=0)
    page = visit.open(f"{list_of(TestCase, 'add')}?suite={suite.pk}")

    page.fill("#id_prompt", "Say 5.")
    page.get_by_role("button", name="Another assertion").click()
    page.select_option("[name=assertions-3-type]", "contains")
    page.fill("[name=assertions-3-value]", "5")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(f"**{url_of(suite)}")

    assert TestCase.objects.get().assertions == [{"type": "contains", "value": "5"}]


def test_a_file_is_previewed_and_then_imported(visit: Visit, own: Actor) -> None:
    suite = make_suite(own, cases=1)
    page = visit.open(url_of(suite))

    def choose(content: str) -> None:
        file = FilePayload(name="cases.csv", mimeType="text/csv", buffer=content.encode())
        page.set_input_files("#import [name=file]", file)
        page.get_by_role("button", name="Preview").click()

    choose("prompt,weight\nx,0\n")
    page.wait_for_selector("#import-preview >> text=Line 2: Column 3, weight")
    choose("key,prompt\ncase-1,Say one.\nnew,Hello\n")
    page.wait_for_selector("#import-preview >> text=1 added, 1 changed")
    before = TestSuite.objects.get().version
    keep_picture(page, "import-preview")
    fits = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator("#import").get_by_role("button", name="Import", exact=True).click()
    page.wait_for_selector("text=Imported as version 2: 1 added, 1 changed")

    assert (before, fits) == (1, True)
    assert visit.complaints == []


def test_logging_in_leads_home(chromium: Browser, live_server: LiveServer, own: Actor) -> None:
    own.user.set_password("correct horse")
    own.user.save()
    visit = Visit(chromium.new_page(), live_server.url)
    listen(visit)
    page = visit.open("/admin/login/")

    page.fill("[name=username]", own.user.username)
    page.fill("[name=password]", "correct horse")
    page.click("[type=submit]")
    page.wait_for_url(f"{live_server.url}/admin/")

    assert page.get_by_role("heading", name="Home").is_visible()
    assert visit.complaints == []
    page.close()
