"""Who gets into the admin, and what it lets operators do to people, projects and keys."""

import pytest
from django.contrib import admin
from django.test import Client

from access import keys
from access.actors import Actor
from access.clock import database_now
from access.models import ApiKey, AuditEvent, Membership, Project, Role, User
from evalsched.models import Schedule
from tests.admin.pages import errors, inputs, list_of, press, send, told, url_of
from tests.factories import (
    make_actor,
    make_key,
    make_member,
    make_project,
    make_schedule,
    make_user,
)

PAGES = [list_of(model) for model in admin.site._registry] + ["/admin/"]


@pytest.mark.parametrize("url", PAGES)
@pytest.mark.django_db
def test_staff_without_being_superuser_sees_nothing(url: str) -> None:
    client = Client()
    person = make_user(is_active=True)
    User.objects.filter(pk=person.pk).update(is_staff=True)
    client.force_login(person)

    assert client.get(url).status_code == 302


@pytest.mark.parametrize("url", PAGES)
def test_every_empty_list_opens_and_says_something(browser: Client, url: str) -> None:
    assert browser.get(url).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "access/auditevent/?via=%00",
        "alerts/trace/?model=%00",
        "alerts/trace/?status__exact=%00",
        "evalsched/run/?status=%00",
        "evalsched/run/?status=x&status=%00&status=y",
        "access/user/?q=%00",
    ],
)
def test_a_filter_that_postgresql_cannot_read_is_taken_off(browser: Client, query: str) -> None:
    answer = browser.get(f"/admin/{query}", follow=True)

    assert answer.status_code == 200


def test_an_operator_sees_schedules_of_every_project(browser: Client) -> None:
    make_schedule(make_actor(), name="Somebody else's")

    assert "Somebody else" in browser.get(list_of(Schedule)).content.decode()


def test_a_new_key_is_shown_once_and_works(browser: Client, own: Actor) -> None:
    response = send(browser, list_of(ApiKey, "add"), "apikey_form", name="CI", scopes=["read"])
    page = browser.get(response.headers["Location"])

    text = told(page).partition("es-key'>")[2].partition("</code>")[0]
    assert keys.authenticate(text, now=database_now()).name == "CI"
    assert text not in browser.get(url_of(ApiKey.objects.get())).content.decode()


def test_a_key_is_made_only_for_a_project_where_it_opens_something(
    browser: Client, own: Actor
) -> None:
    foreign = make_project(name="Somebody else's")
    page = browser.get(list_of(ApiKey, "add")).content.decode()

    response = send(browser, list_of(ApiKey, "add"), "apikey_form", name="CI", project=foreign.pk)

    assert str(own.project.pk) in page
    assert str(foreign.pk) not in page
    assert "project" in errors(response)
    assert not ApiKey.objects.exists()


def test_a_key_without_scopes_is_refused_at_its_field(browser: Client, own: Actor) -> None:
    response = send(browser, list_of(ApiKey, "add"), "apikey_form", name="CI", scopes=None)

    assert "scopes" in errors(response)


def test_the_hash_of_a_key_is_on_no_page(browser: Client) -> None:
    key, _ = make_key()

    assert key.key_hash not in browser.get(url_of(key)).content.decode()


def test_revoking_a_key_turns_it_away_and_is_on_the_trail(browser: Client) -> None:
    key, _ = make_key()

    press(browser, key, "revoke")

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert AuditEvent.objects.filter(action="api_key.revoked", via="admin").exists()


def test_a_button_is_a_post_with_a_token(operator: User) -> None:
    key, _ = make_key()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(operator)
    url = f"/admin/access/apikey/{key.pk}/do/revoke/"

    assert strict.get(url)["Location"] == url_of(key)
    assert strict.post(url).status_code == 403
    key.refresh_from_db()
    assert key.revoked_at is None


def test_a_button_pressed_after_the_session_ended_leads_back_to_the_row(operator: User) -> None:
    operator.set_password("correct horse battery")
    operator.save()
    key, _ = make_key()
    client = Client()
    door = client.post(f"/admin/access/apikey/{key.pk}/do/revoke/")["Location"]

    named = {"username": operator.username, "password": "correct horse battery"}
    page = client.post(door, named, follow=True)

    assert page.status_code == 200
    assert page.redirect_chain[-1][0] == url_of(key)
    assert "Nothing was done: your session had ended" in page.content.decode()
    key.refresh_from_db()
    assert key.revoked_at is None


def test_a_button_that_does_not_exist_is_not_found(browser: Client) -> None:
    key, _ = make_key()

    assert browser.post(f"/admin/access/apikey/{key.pk}/do/save_model/").status_code == 404


def test_a_member_is_added_through_the_projects_page(browser: Client) -> None:
    project = make_project()
    maria = make_user("maria")

    send(
        browser,
        url_of(project),
        "project_form",
        **{
            "memberships-TOTAL_FORMS": "2",
            "memberships-1-user": str(maria.pk),
            "memberships-1-role": "viewer",
            "memberships-1-project": str(project.pk),
        },
    )

    assert Membership.objects.get(project=project, user=maria).role == Role.VIEWER
    assert AuditEvent.objects.filter(action="member.added", project=project).exists()


def test_the_last_admin_of_a_project_stays_and_the_page_says_why(browser: Client) -> None:
    project = make_project()

    response = send(browser, url_of(project), "project_form", **{"memberships-0-role": "viewer"})

    assert "last admin" in str(errors(response))
    assert Membership.objects.get(project=project).role == Role.ADMIN


def test_the_owner_of_a_personal_project_stays_and_the_page_says_why(browser: Client) -> None:
    project = make_actor().project
    make_member(project, role=Role.ADMIN)
    owner = Membership.objects.get(project=project, user=project.personal_of)
    fields = inputs(browser, url_of(project), "project_form")
    row = next(name for name, value in fields.items() if value == [str(owner.pk)])

    response = send(
        browser, url_of(project), "project_form", **{row.replace("-id", "-role"): "viewer"}
    )

    assert "personal project" in str(errors(response))
    owner.refresh_from_db()
    assert owner.role == Role.ADMIN


def test_a_refused_member_undoes_the_renaming_beside_it(browser: Client) -> None:
    project = make_project(name="Before")

    send(browser, url_of(project), "project_form", name="After", **{"memberships-0-DELETE": "on"})

    assert Project.objects.get(pk=project.pk).name == "Before"
    assert Membership.objects.filter(project=project).exists()


def test_renaming_a_project_goes_through_its_domain_function(browser: Client) -> None:
    project = make_member().project

    send(browser, url_of(project), "project_form", name="Search team")

    assert Project.objects.get(pk=project.pk).name == "Search team"
    assert AuditEvent.objects.filter(action="project.renamed").exists()


def test_making_somebody_an_operator_lets_them_in(browser: Client) -> None:
    maria = make_user("maria")

    send(browser, url_of(maria), "user_form", is_superuser="on")

    other = Client()
    other.force_login(User.objects.get(pk=maria.pk))
    assert other.get("/admin/").status_code == 200
    assert AuditEvent.objects.filter(action="user.changed", object_id=str(maria.pk)).exists()


def test_operators_cannot_lock_themselves_out(browser: Client, operator: User) -> None:
    offered = inputs(browser, url_of(operator), "user_form")

    send(browser, url_of(operator), "user_form", is_active=None, is_superuser=None)

    assert not {"is_active", "is_superuser"} & offered.keys()
    operator.refresh_from_db()
    assert operator.is_active
    assert operator.is_superuser


def test_an_unknown_time_zone_of_a_person_is_refused(browser: Client) -> None:
    response = send(browser, url_of(make_user()), "user_form", timezone="Mars/Olympus")

    assert "timezone" in errors(response)
