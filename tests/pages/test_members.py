"""Who reaches which page, and what editors may do there."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import get_resolver, reverse
from pytest_django import Settings

from access.clock import database_now
from access.isolation import API_ROLE
from access.models import AuditEvent, Project, Role
from access.pages import Page
from batches.models import Batch, Job
from evalsched.pages.experiments import Experiments
from evalsched.pages.urls import urlpatterns
from tests.factories import make_actor, make_experiment, make_member, make_project, make_user
from tests.pages.conftest import TRIAL, Trial

# Every page of an experiment, and how it is asked for.
PAGES = [
    ("get", "experiment", {}),
    ("get", "experiment_export", {}),
    ("get", "experiment_case", {}),
    ("post", "experiment_extend", {"days": "9"}),
    ("post", "experiment_delete", {"cancel": "on"}),
]


def send(client: Client, method: str, name: str, body: Any, *, project: Any = None) -> Any:
    args: list[Any] = [TRIAL]
    if name == "experiment_case":
        args.append(Job.objects.filter(batch__tracking_id=TRIAL).values_list("pk", flat=True)[0])
    url = reverse(name, args=args)
    query = "" if project is None else f"?project={project}"
    return getattr(client, method)(url + query, body)


def logged_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_every_page_is_in_the_table() -> None:
    names = {str(pattern.name) for pattern in urlpatterns}

    assert names == {name for _, name, _ in PAGES} | {"experiments"}
    assert len(get_resolver().url_patterns) > len(PAGES)


@pytest.mark.parametrize(("method", "name", "body"), PAGES)
def test_nobody_is_sent_to_the_login(method: str, name: str, body: Any, trial: Trial) -> None:
    answer = send(Client(), method, name, body)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/login?next=/experiments/")
    assert Batch.objects.filter(tracking_id=TRIAL).count() == 2


@pytest.mark.parametrize("named", [True, False], ids=["by its id", "in their own project"])
@pytest.mark.parametrize(("method", "name", "body"), PAGES)
def test_a_member_of_another_project_finds_nothing(
    method: str, name: str, body: Any, named: bool, trial: Trial
) -> None:
    client = logged_in(make_member().user)

    answer = send(client, method, name, body, project=trial.actor.project.pk if named else None)
    if answer.status_code == 302:
        answer = client.get(answer["Location"])

    assert answer.status_code == 404
    assert "Long prompt" not in answer.content.decode()
    assert Batch.objects.filter(tracking_id=TRIAL).count() == 2


def test_the_list_of_another_project_is_not_shown(trial: Trial) -> None:
    client = logged_in(make_user())

    assert TRIAL not in client.get("/experiments").content.decode()
    answer = client.get(f"/experiments?project={trial.actor.project.pk}")
    assert answer.status_code == 404


def test_the_database_shows_no_other_project_where_a_page_forgets_to_ask(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def forgetful(page: Page, request: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            seen.append((cursor.fetchone()[0], Batch.objects.count(), Job.objects.count()))
        return page.shown("pages/refused.html", {})

    monkeypatch.setattr(Experiments, "get", forgetful)

    logged_in(make_user()).get("/experiments")

    assert seen == [(API_ROLE, 0, 0)]


def test_with_row_level_security_switched_off_the_scoping_still_shows_nothing(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Page, "acting", lambda _: transaction.atomic())
    client = logged_in(make_user())

    answers = [send(client, method, name, body) for method, name, body in PAGES[:3]]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert TRIAL not in client.get("/experiments").content.decode()


def test_no_page_leaves_the_connection_in_the_apis_role(member: Client, trial: Trial) -> None:
    for query in ("", "project=x"):
        trial.page(member, query)
    b"".join(send(member, "get", "experiment_export", {}).streaming_content)

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone()[0] != API_ROLE


def test_a_viewer_sees_everything_and_changes_nothing(trial: Trial) -> None:
    viewer = make_member(trial.actor.project, role=Role.VIEWER).user
    client, project = logged_in(viewer), trial.actor.project.pk

    page = trial.page(client)
    answers = [
        send(client, method, name, body, project=project)
        for method, name, body in PAGES
        if method == "post"
    ]

    assert "Delete for good" not in page
    assert "Long prompt" in page
    assert {answer.status_code for answer in answers} == {403}
    assert "this needs &#x27;editor&#x27;" in answers[0].content.decode()
    assert Batch.objects.filter(tracking_id=TRIAL).count() == 2
    assert AuditEvent.objects.filter(action="request.refused", user=viewer).count() == 2


def test_an_editor_deletes_an_experiment(member: Client, trial: Trial) -> None:
    answer = send(member, "post", "experiment_delete", {})

    page = member.get(answer["Location"]).content.decode()
    assert "is deleted, with everything it owned" in page
    assert "No experiments yet" in page
    assert not Batch.objects.exists()
    assert AuditEvent.objects.filter(action="experiment.deleted", via="session").exists()


def test_what_is_under_way_is_deleted_only_where_that_is_said(member: Client, trial: Trial) -> None:
    make_experiment(trial.actor, tracking_id=TRIAL)

    refused = member.get(send(member, "post", "experiment_delete", {})["Location"])
    kept = Batch.objects.count()
    send(member, "post", "experiment_delete", {"cancel": "on"})

    assert "under way" in refused.content.decode()
    assert (kept, Batch.objects.count()) == (3, 0)


def test_an_editor_extends_an_experiment(member: Client, trial: Trial) -> None:
    make_experiment(trial.actor, tracking_id=TRIAL)

    def told(days: str) -> str:
        answer = send(member, "post", "experiment_extend", {"days": days})
        return str(member.get(answer["Location"]).content.decode())

    extended, wrong = told("30"), told("900")

    expires_at = Batch.objects.get(is_ephemeral=True).expires_at
    assert expires_at is not None
    assert timedelta(days=29) < expires_at - database_now() < timedelta(days=31)
    assert "expires 30 days from now" in extended
    assert "from 1 to 365" in wrong


def test_a_form_needs_its_token(trial: Trial) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(trial.actor.user)

    assert send(strict, "post", "experiment_delete", {}).status_code == 403
    assert Batch.objects.filter(tracking_id=TRIAL).count() == 2


def test_somebody_with_several_projects_switches_between_them(trial: Trial) -> None:
    shared = make_project(trial.actor.user, name="Search team")
    client = logged_in(trial.actor.user)

    first = client.get("/experiments").content.decode()
    other = client.get(f"/experiments?project={shared.pk}").content.decode()
    remembered = client.get("/experiments").content.decode()

    assert TRIAL in first
    assert "Search team" in first
    assert TRIAL not in other
    assert TRIAL not in remembered


def test_a_project_that_somebody_left_is_forgotten(trial: Trial) -> None:
    member = make_member(trial.actor.project)
    client = logged_in(member.user)
    client.get(f"/experiments?project={trial.actor.project.pk}")

    member.delete()

    page = client.get("/experiments")
    assert page.status_code == 200
    assert TRIAL not in page.content.decode()


def test_an_operator_looks_into_every_project(trial: Trial) -> None:
    client = logged_in(make_user(superuser=True))

    assert "Long prompt" in trial.page(client)
    assert Project.objects.filter(pk=trial.actor.project.pk).exists()


def test_an_operator_who_is_a_viewer_still_does_everything(trial: Trial) -> None:
    person = make_user(superuser=True)
    make_member(trial.actor.project, user=person, role=Role.VIEWER)

    assert "Delete for good" in trial.page(logged_in(person))


def test_the_list_is_narrowed(member: Client, trial: Trial) -> None:
    other = make_member(trial.actor.project).user
    colleague = make_actor(other, project=trial.actor.project)
    now = database_now()
    make_experiment(colleague, tracking_id="of-a-colleague", now=now)
    make_experiment(trial.actor, tracking_id="gone", now=now - timedelta(days=9))

    def shown(query: str) -> list[str]:
        page = member.get(f"/experiments?{query}").content.decode()
        return [name for name in (TRIAL, "of-a-colleague", "gone") if f">{name}<" in page]

    assert shown("") == [TRIAL, "of-a-colleague"]
    assert shown("expired=on") == [TRIAL, "of-a-colleague", "gone"]
    assert shown(f"user={other.pk}") == ["of-a-colleague"]
    assert shown("status=running") == ["of-a-colleague"]
    assert shown("q=shorter") == [TRIAL]
    assert shown("status=nonsense&user=x") == [TRIAL, "of-a-colleague"]


def test_a_narrowed_list_sums_all_batches_of_what_it_shows(member: Client, trial: Trial) -> None:
    other = make_member(trial.actor.project).user
    colleague = make_actor(other, project=trial.actor.project)
    now = database_now()
    warmer = make_experiment(colleague, tracking_id=TRIAL, now=now)
    Batch.objects.filter(pk=warmer.pk).update(description="Warmer")
    make_experiment(colleague, tracking_id=TRIAL, now=now - timedelta(days=9))

    def summed(query: str) -> list[int]:
        return [line["batches"] for line in member.get(f"/experiments?{query}").context["lines"]]

    for query in ("", f"user={other.pk}", "q=warmer", "expired=on"):
        assert summed(query) == [4], query


@pytest.mark.parametrize("rest", ["", "/export", "/cases/1"])
def test_an_address_that_no_tracking_id_has_is_not_found(rest: str, member: Client) -> None:
    assert member.get(f"/experiments/own%00{rest}").status_code == 404


def test_an_empty_list_says_how_to_begin(db: None) -> None:
    page = logged_in(make_user()).get("/experiments").content.decode()

    assert "No experiments yet" in page
    assert "/api/batches" in page


def test_requests_are_limited_as_in_the_api(
    member: Client, trial: Trial, settings: Settings
) -> None:
    settings.EVALSCHED_RATE_LIMIT_READS = 1

    answers = [member.get("/experiments") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1]["Retry-After"]
