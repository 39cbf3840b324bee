"""Projects and their members over the API."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from access import projects
from access.actors import Actor
from access.models import AuditEvent, Membership, Project, Role
from tests.clients import Api, with_key, with_session
from tests.factories import make_actor, make_member, make_project, make_user


@pytest.fixture
def shared(actor: Actor) -> Project:
    return make_project(actor.user)


@pytest.fixture
def browser(actor: Actor) -> Api:
    return with_session(actor)


def _roles(project: Project) -> dict[str, str]:
    return dict(Membership.objects.filter(project=project).values_list("user__username", "role"))


def test_whoever_makes_a_project_is_its_admin(browser: Api, actor: Actor) -> None:
    answer = browser.create("projects", {"name": "Shared"})

    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["name"], shown["personal"]) == ("Shared", False)
    assert shown["user_id"] == str(actor.user.pk)
    assert _roles(Project.objects.get(pk=shown["id"])) == {actor.user.username: "admin"}


def test_the_list_holds_the_projects_one_is_a_member_of(
    browser: Api, actor: Actor, shared: Project
) -> None:
    make_project()

    listed = browser.read("projects").json()

    assert listed["count"] == 2
    assert {row["id"] for row in listed["results"]} == {str(shared.pk), str(actor.project.pk)}
    assert {row["personal"] for row in listed["results"]} == {True, False}


def test_a_personal_project_is_made_once(db: None) -> None:
    user = make_user()

    assert projects.personal_of(user) == projects.personal_of(user)
    with pytest.raises(IntegrityError), transaction.atomic():
        Project.objects.create(name="Second", user=user, personal_of=user)


def test_an_admin_renames_a_project(browser: Api, shared: Project) -> None:
    answer = browser.change(f"projects/{shared.pk}", {"name": "Renamed"})

    assert answer.json()["name"] == "Renamed"
    assert AuditEvent.objects.get(action="project.renamed").project_id == shared.pk


def test_an_admin_lets_somebody_in(browser: Api, shared: Project) -> None:
    guest = make_user("guest")

    answer = browser.create(f"projects/{shared.pk}/members", {"username": "guest"})

    assert answer.status_code == 201, answer.content
    shown = answer.json()
    assert (shown["username"], shown["role"]) == ("guest", "editor")
    assert (shown["user_id"], shown["project_id"]) == (str(guest.pk), str(shared.pk))
    assert _roles(shared)["guest"] == "editor"
    assert AuditEvent.objects.get(action="member.added").project_id == shared.pk
    visitor = with_session(make_actor(guest, project=shared))
    assert visitor.read("models").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "nobody"}, "username"),
        ({"username": "{self}"}, "username"),
        ({"username": "gone"}, "username"),
        ({}, "username"),
        ({"username": "guest", "role": "owner"}, "role"),
        ({"username": "guest", "admin": True}, "admin"),
    ],
    ids=str,
)
def test_a_member_who_cannot_be_is_refused_by_the_field(
    body: dict[str, Any], field: str, browser: Api, actor: Actor, shared: Project
) -> None:
    make_user("guest")
    make_user("gone", is_active=False)
    if body.get("username") == "{self}":
        body = {"username": actor.user.username}

    answer = browser.create(f"projects/{shared.pk}/members", body)

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field]
    assert len(_roles(shared)) == 1


def test_what_only_the_service_writes_is_ignored_of_a_member(
    browser: Api, actor: Actor, shared: Project
) -> None:
    make_user("guest")
    body = {"username": "guest", "user_id": str(actor.user.pk), "created_at": None}

    assert browser.create(f"projects/{shared.pk}/members", body).status_code == 201
    assert "guest" in _roles(shared)


def test_an_admin_changes_a_role(browser: Api, shared: Project) -> None:
    member = make_member(shared)

    answer = browser.change(f"projects/{shared.pk}/members/{member.pk}", {"role": "viewer"})

    assert answer.status_code == 200
    assert answer.json()["role"] == "viewer"
    assert _roles(shared)[member.user.username] == "viewer"


def test_an_admin_shows_somebody_out(browser: Api, shared: Project) -> None:
    member = make_member(shared)
    visitor = with_session(make_actor(member.user, project=shared))

    answer = browser.remove(f"projects/{shared.pk}/members/{member.pk}")

    assert answer.status_code == 204
    assert visitor.read("models").status_code == 404
    assert AuditEvent.objects.filter(action="member.removed").count() == 1


@pytest.mark.parametrize("leave", ["remove", "demote"])
def test_a_project_keeps_an_admin(leave: str, browser: Api, actor: Actor, shared: Project) -> None:
    make_member(shared)
    member = Membership.objects.get(project=shared, user=actor.user)
    path = f"projects/{shared.pk}/members/{member.pk}"

    answer = browser.remove(path) if leave == "remove" else browser.change(path, {"role": "editor"})

    assert answer.status_code == 409
    assert "last admin" in answer.json()["message"]
    assert _roles(shared)[actor.user.username] == "admin"


def test_with_a_second_admin_the_first_may_leave(
    browser: Api, actor: Actor, shared: Project
) -> None:
    make_member(shared, role=Role.ADMIN)
    member = Membership.objects.get(project=shared, user=actor.user)

    assert browser.remove(f"projects/{shared.pk}/members/{member.pk}").status_code == 204
    assert actor.user.username not in _roles(shared)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
def test_members_leave_by_themselves(role: Role, shared: Project) -> None:
    member = make_member(shared, role=role)
    leaving = with_session(make_actor(member.user, project=shared))

    assert leaving.remove(f"projects/{shared.pk}/members/{member.pk}").status_code == 204
    assert member.user.username not in _roles(shared)


def test_who_is_no_admin_shows_nobody_else_out(actor: Actor, shared: Project) -> None:
    editor = with_session(make_actor(make_member(shared).user, project=shared))
    other = Membership.objects.get(project=shared, user=actor.user)

    assert editor.remove(f"projects/{shared.pk}/members/{other.pk}").status_code == 403
    assert actor.user.username in _roles(shared)
    assert AuditEvent.objects.filter(action="request.refused", project=shared).exists()


def test_who_leaves_may_not_promote_themselves(shared: Project) -> None:
    member = make_member(shared, role=Role.VIEWER)
    viewer = with_session(make_actor(member.user, project=shared))

    answer = viewer.change(f"projects/{shared.pk}/members/{member.pk}", {"role": "admin"})

    assert answer.status_code == 403
    assert _roles(shared)[member.user.username] == "viewer"


@pytest.mark.parametrize("leave", ["remove", "demote"])
def test_the_owner_of_a_personal_project_stays_its_admin(leave: str, actor: Actor) -> None:
    guest = make_member(actor.project, role=Role.ADMIN)
    browser = with_session(make_actor(guest.user, project=actor.project))
    owner = Membership.objects.get(project=actor.project, user=actor.user)
    path = f"projects/{actor.project.pk}/members/{owner.pk}"

    answer = browser.remove(path) if leave == "remove" else browser.change(path, {"role": "viewer"})

    assert answer.status_code == 409
    assert "personal project" in answer.json()["message"]
    assert _roles(actor.project)[actor.user.username] == "admin"


@pytest.mark.parametrize("lost", ["removed", "demoted"])
def test_a_lost_place_in_the_personal_project_is_given_back(lost: str, actor: Actor) -> None:
    own = Membership.objects.filter(project=actor.project, user=actor.user)
    if lost == "removed":
        own.delete()
    else:
        own.update(role=Role.VIEWER)
    browser = with_session(actor)

    assert browser.get("/experiments").status_code == 200
    assert browser.get("/api/me").json()["role"] == "admin"
    assert own.get().role == Role.ADMIN


def test_a_key_of_a_shared_project_works_without_a_personal_one(shared: Project) -> None:
    member = make_member(shared)
    client = with_key(make_actor(member.user, project=shared))

    assert client.read("me").status_code == 200


def test_members_see_each_other_by_name(browser: Api, shared: Project) -> None:
    guest = make_member(shared)

    listed = browser.read(f"projects/{shared.pk}/members").json()

    assert {row["username"] for row in listed["results"]} == set(_roles(shared))
    assert "password" not in str(listed)
    one = browser.read(f"projects/{shared.pk}/members/{guest.pk}")
    assert one.json()["username"] == guest.user.username


def test_members_are_paged(browser: Api, shared: Project) -> None:
    for _ in range(3):
        make_member(shared)

    page = browser.read(f"projects/{shared.pk}/members?limit=2&offset=2").json()

    assert (page["count"], len(page["results"])) == (4, 2)
