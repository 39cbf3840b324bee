"""The members' pages in a browser, at a desk and on a phone: no script, nothing from elsewhere."""

import pytest
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer

from access.actors import Actor
from access.clock import database_now
from batches.models import Agent, Batch, Document, Experiment, Job
from tests.admin.pages import list_of, url_of
from tests.e2e.test_admin_pages import (  # noqa: F401  the fixtures
    Visit,
    keep_picture,
    listen,
    own,
    visit,
)
from tests.factories import make_agent, make_document, make_experiment, make_project, make_suite
from tests.pages.conftest import TRIAL, make_trial

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]
PASSWORD = "correct horse battery"


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def furnish(actor: Actor) -> Batch:
    suite = make_suite(actor, cases=40)
    make_trial(actor, suite, name="Long prompt")
    worse = make_trial(actor, suite, name="Short prompt, without the examples", wrong=range(3, 20))
    make_experiment(actor, tracking_id="summaries-of-the-annual-report-2025", now=database_now())
    make_project(actor.user, name="Search team")
    return worse


def test_a_member_logs_in_looks_compares_and_deletes(
    visit: Visit,  # noqa: F811
    own: Actor,  # noqa: F811
) -> None:
    worse = furnish(own)
    own.user.is_superuser = own.user.is_staff = False
    own.user.set_password(PASSWORD)
    own.user.save()
    wide: list[str] = []

    def look(name: str) -> None:
        keep_picture(page, name)
        if not fits(page):
            wide.append(name)

    page = visit.page
    page.context.clear_cookies()
    visit.open("/experiments")
    look("member login")
    page.fill("[name=username]", own.user.username)
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name=TRIAL).wait_for()
    look("member list")
    page.get_by_role("link", name=TRIAL).click()
    page.get_by_role("heading", name="Compared with the baseline").wait_for()
    look("member results")
    page.get_by_text("Every metric").click()
    page.select_option("[name=show]", "results")
    page.select_option("[name=order]", "worst")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_role("heading", name="Cases 17").wait_for()
    look("member differences")
    page.get_by_role("link", name="case-3", exact=True).click()
    page.locator("ins", has_text="or not").wait_for()
    look("member case")
    page.get_by_role("link", name=TRIAL).click()
    page.get_by_text("Delete", exact=True).click()
    look("member deleting")
    page.get_by_role("button", name="Delete for good").click()
    page.get_by_text("is deleted, with everything it owned").wait_for()

    assert visit.complaints == []
    assert wide == []
    assert not Batch.objects.filter(pk=worse.pk).exists()


def test_pages_that_have_little_to_show(
    visit: Visit,  # noqa: F811
    own: Actor,  # noqa: F811
) -> None:
    shared = make_project(own.user, name="Search team")
    make_experiment(own, tracking_id="under-way", now=database_now())
    job = Job.objects.all()[0]
    wide: list[str] = []

    for path in (
        "/experiments/under-way",
        f"/experiments/under-way/cases/{job.pk}",
        f"/experiments?project={shared.pk}",
        "/password-reset",
        "/password-reset/sent",
        "/password-reset/x/y",
        "/password-reset/done",
    ):
        page = visit.open(path)
        keep_picture(page, f"member {path.split('?')[0]}{'-empty' if '?' in path else ''}")
        if not fits(page):
            wide.append(path)

    assert visit.complaints == []
    assert wide == []


def test_the_admins_pages_of_experiments(
    visit: Visit,  # noqa: F811
    own: Actor,  # noqa: F811
) -> None:
    worse = furnish(own)
    first = Batch.objects.filter(tracking_id=TRIAL).order_by("pk")[0]
    ephemeral = Document.objects.filter(ephemeral_batch__isnull=False)[0]
    rows = [make_agent(own), make_document(own), ephemeral, Agent.objects.order_by("pk")[0], worse]
    lists = [list_of(model, page) for model in (Experiment, Agent, Document) for page in _BOTH]
    wide: list[str] = []

    for path in [*lists, *(url_of(row) for row in (Experiment.objects.get(pk=first.pk), *rows))]:
        page = visit.open(path)
        keep_picture(page, f"experiments {path.rstrip('/').rsplit('/', 1)[0][7:]} {path[-8:]}")
        if not fits(page):
            wide.append(path)

    assert visit.complaints == []
    assert wide == []


_BOTH = ("changelist", "add")


def test_the_login_needs_no_script(chromium: Browser, live_server: LiveServer, own: Actor) -> None:  # noqa: F811
    own.user.set_password(PASSWORD)
    own.user.save()
    context = chromium.new_context(java_script_enabled=False)
    visit_ = Visit(context.new_page(), live_server.url)
    listen(visit_)
    page = visit_.page
    page.goto(f"{live_server.url}/login")

    page.fill("[name=username]", own.user.username)
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Log in").click()

    page.wait_for_url(f"{live_server.url}/admin/")
    context.close()
