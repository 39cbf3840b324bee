"""The three ways in, their order, and the project that a request acts in."""

import hmac
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from access import projects
from access.actors import Actor
from access.api import credentials
from access.models import AuditEvent, Membership, Role
from tests.clients import Api, anonymous, with_key, with_session
from tests.factories import NOW, make_actor, make_key, make_member, make_project, make_user

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
SERVICE_KEY = "service-role-key-of-thirty-two-characters-or-more"


@pytest.fixture
def service(settings: Settings, actor: Actor) -> Api:
    """A trusted machine that acts as `actor`."""
    settings.SERVICE_ROLE_KEY = SERVICE_KEY
    return Api(headers={"X-Service-Role-Key": SERVICE_KEY, "X-User-Id": str(actor.user.pk)})


def _me(client: Api, **headers: str) -> Any:
    return client.read("me", **headers)


# --- API keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_comes_in_by_either_header(header: str, actor: Actor) -> None:
    _, text = make_key(actor)
    value = f"Bearer {text}" if header == "Authorization" else text

    answer = _me(anonymous(), **{header: value})

    assert answer.status_code == 200
    assert answer.json()["user_id"] == str(actor.user.pk)


def test_me_tells_who_acts_where_and_what_they_may(actor: Actor) -> None:
    shared = make_project(actor.user, name="Shared")

    by_key = _me(with_key(actor, "read")).json()
    by_session = _me(with_session(actor)).json()

    own = {"id": str(actor.project.pk), "name": actor.project.name, "role": "admin"}
    assert by_key == {
        "user_id": str(actor.user.pk),
        "username": actor.user.username,
        "email": actor.user.email,
        "project_id": str(actor.project.pk),
        "role": "admin",
        "scopes": ["read"],
        "projects": [own],
    }
    assert by_session["scopes"] == ["ingest", "read", "write"]
    assert by_session["projects"] == [
        own,
        {"id": str(shared.pk), "name": "Shared", "role": "admin"},
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer es_0123456789_wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"X-API-Key": ""},
        {"X-API-Key": "es__"},
        {"X-API-Key": "é"},
        {"X-API-Key": "es_" + "0" * 10_000},
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_what_is_no_key_is_401(headers: dict[str, str], db: None) -> None:
    answer = _me(anonymous(), **headers)

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"] == "not_authenticated"


def test_the_prefix_alone_opens_nothing(actor: Actor) -> None:
    key, text = make_key(actor)

    tries = [f"es_{key.prefix}_", f"es_{key.prefix}_{'x' * 43}", text[:-1], text + "x", text[3:]]
    answers = [_me(anonymous(), **{"X-API-Key": attempt}).status_code for attempt in tries]

    assert answers == [401] * len(tries)


def test_an_expired_key_is_401_and_says_so(actor: Actor) -> None:
    _, text = make_key(actor, expires_at=NOW + timedelta(minutes=1))

    answer = _me(anonymous(), **{"X-API-Key": text})

    assert answer.status_code == 401
    assert "expired" in answer.json()["message"]


def test_the_key_of_somebody_who_left_is_401(actor: Actor) -> None:
    client = with_key(actor)
    actor.user.is_active = False
    actor.user.save()

    assert _me(client).status_code == 401


def test_a_key_is_worth_nothing_once_its_owner_is_out_of_the_project(db: None) -> None:
    member = make_member()
    client = with_key(make_actor(member.user, project=member.project))
    assert client.read("models").status_code == 200

    Membership.objects.filter(pk=member.pk).delete()

    assert client.read("models").status_code == 404


def test_a_key_knows_its_own_project_only(actor: Actor) -> None:
    other = make_project(actor.user)
    client = with_key(actor)

    own = _me(client, **{"X-Project-Id": str(actor.project.pk)})
    foreign = _me(client, **{"X-Project-Id": str(other.pk)})
    nonsense = _me(client, **{"X-Project-Id": "nonsense"})
    by_path = client.read(f"projects/{other.pk}")

    assert own.status_code == 200
    assert [foreign.status_code, nonsense.status_code, by_path.status_code] == [404] * 3


def test_the_use_of_a_key_is_noted(actor: Actor) -> None:
    key, text = make_key(actor)

    _me(anonymous(), **{"X-API-Key": text})

    key.refresh_from_db()
    assert key.last_used_at is not None


# --- Scopes and roles ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "read", "write"),
    [
        (["read"], 200, 403),
        (["write"], 403, 201),
        (["read", "write"], 200, 201),
        (["ingest"], 403, 403),
    ],
    ids=str,
)
def test_a_scope_opens_what_it_names(
    scopes: list[str], read: int, write: int, actor: Actor
) -> None:
    client = with_key(actor, *scopes)

    reading = client.read("test-suites")
    writing = client.create("test-suites", {"name": "New"})

    assert (reading.status_code, writing.status_code) == (read, write)
    for answer in (reading, writing):
        if answer.status_code == 403:
            assert answer.json()["error"] == "permission_denied"
            assert "scope" in answer.json()["message"]


@pytest.mark.parametrize(
    ("role", "read", "write", "manage"),
    [(Role.VIEWER, 200, 403, 403), (Role.EDITOR, 200, 201, 403), (Role.ADMIN, 200, 201, 200)],
    ids=str,
)
@pytest.mark.parametrize("way", [with_key, with_session], ids=["key", "session"])
@pytest.mark.django_db
def test_a_role_may_do_what_it_says(
    way: Any, role: Role, read: int, write: int, manage: int
) -> None:
    member = make_member(role=role)
    client = way(make_actor(member.user, project=member.project))

    answers = (
        client.read("test-suites"),
        client.create("test-suites", {"name": "New"}),
        client.change(f"projects/{member.project_id}", {"name": "Renamed"}),
    )

    assert tuple(answer.status_code for answer in answers) == (read, write, manage)


def test_a_refusal_stays_in_the_audit_log(db: None) -> None:
    member = make_member(role=Role.VIEWER)
    client = with_key(make_actor(member.user, project=member.project))

    client.create("test-suites", {"name": "New"})

    (event,) = AuditEvent.objects.filter(action="request.refused")
    assert (event.project_id, event.user_id) == (member.project_id, member.user_id)
    assert event.details == {"method": "POST", "path": "/api/test-suites"}


# --- The service role ------------------------------------------------------------------------


def test_the_service_role_acts_as_the_user_it_names(service: Api, actor: Actor) -> None:
    answer = service.create("test-suites", {"name": "By a machine"})

    assert answer.status_code == 201
    assert answer.json()["user_id"] == str(actor.user.pk)
    assert answer.json()["project_id"] == str(actor.project.pk)


def test_what_the_service_role_does_is_in_the_audit_log(service: Api, actor: Actor) -> None:
    service.create("test-suites", {"name": "By a machine"})
    service.read("test-suites")

    event, reading = AuditEvent.objects.filter(action="service_role.used").order_by("id")
    assert reading.details["method"] == "GET"
    assert (event.project_id, event.user_id, event.via) == (
        actor.project.pk,
        actor.user.pk,
        "service_role",
    )
    assert AuditEvent.objects.get(action="suite.created").via == "service_role"


def test_the_service_role_reaches_the_projects_of_its_user_only(service: Api, actor: Actor) -> None:
    shared, foreign = make_project(actor.user), make_project()

    inside = _me(service, **{"X-Project-Id": str(shared.pk)})
    outside = _me(service, **{"X-Project-Id": str(foreign.pk)})

    assert inside.json()["project_id"] == str(shared.pk)
    assert outside.status_code == 404


@pytest.mark.parametrize("given", ["", "wrong", SERVICE_KEY[:-1], SERVICE_KEY + "x", "é"])
def test_a_wrong_service_role_key_is_401(given: str, service: Api) -> None:
    assert _me(service, **{"X-Service-Role-Key": given}).status_code == 401


@pytest.mark.parametrize("given", ["", "wrong", "None"])
def test_an_unset_service_role_key_is_a_closed_door(
    given: str, actor: Actor, settings: Settings
) -> None:
    settings.SERVICE_ROLE_KEY = ""
    headers = {"X-Service-Role-Key": given, "X-User-Id": str(actor.user.pk)}

    assert _me(anonymous(), **headers).status_code == 401


@pytest.mark.parametrize("user_id", [None, "", "nonsense", NOBODY])
def test_the_service_role_needs_an_active_user(
    user_id: str | None, settings: Settings, db: None
) -> None:
    settings.SERVICE_ROLE_KEY = SERVICE_KEY
    headers = {"X-Service-Role-Key": SERVICE_KEY}

    answer = _me(anonymous(), **headers, **({} if user_id is None else {"X-User-Id": user_id}))

    assert answer.status_code == 401


def test_the_service_role_does_not_act_as_somebody_who_left(service: Api, actor: Actor) -> None:
    actor.user.is_active = False
    actor.user.save()

    assert _me(service).status_code == 401


def test_the_user_id_alone_opens_nothing(actor: Actor) -> None:
    assert _me(anonymous(), **{"X-User-Id": str(actor.user.pk)}).status_code == 401


def test_service_role_keys_are_compared_in_constant_time(
    service: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test can measure it reliably; what compares is the function made for it, on the whole."""
    compared: list[set[bytes]] = []
    compare = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append({a, b})
        return compare(a, b)

    monkeypatch.setattr(f"{credentials.__name__}.hmac.compare_digest", spy)
    _me(service, **{"X-Service-Role-Key": "wrong"})

    assert {SERVICE_KEY.encode(), b"wrong"} in compared


# --- The order of the ways -------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        {"X-Service-Role-Key": "wrong"},
        {"X-Service-Role-Key": ""},
        {"Authorization": "Bearer es_0123456789_wrong"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
    ids=str,
)
def test_the_first_credential_decides_whatever_follows(
    first: dict[str, str], actor: Actor, settings: Settings
) -> None:
    settings.SERVICE_ROLE_KEY = SERVICE_KEY
    client = with_session(actor)
    _, text = make_key(actor)

    answer = _me(client, **first, **{"X-API-Key": text})

    assert answer.status_code == 401


def test_a_wrong_key_is_not_made_good_by_a_session(actor: Actor) -> None:
    client = with_session(actor)

    assert _me(client, **{"X-API-Key": "wrong"}).status_code == 401
    assert _me(client).status_code == 200


def test_the_service_role_comes_before_a_key(service: Api, actor: Actor) -> None:
    _, text = make_key()

    answer = _me(service, Authorization=f"Bearer {text}")

    assert answer.json()["user_id"] == str(actor.user.pk)


# --- Sessions --------------------------------------------------------------------------------


def test_a_session_acts_in_the_personal_project_unless_told_otherwise(actor: Actor) -> None:
    shared = make_project(actor.user)
    client = Api()
    client.force_login(actor.user)

    assert _me(client).json()["project_id"] == str(actor.project.pk)
    named = _me(client, **{"X-Project-Id": str(shared.pk)})
    assert named.json()["project_id"] == str(shared.pk)


@pytest.mark.parametrize("named", ["", "nonsense", NOBODY])
def test_a_project_that_is_none_of_mine_is_404(named: str, actor: Actor) -> None:
    answer = _me(with_session(actor), **{"X-Project-Id": named})

    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"


def test_everybody_has_a_personal_project_from_their_first_request(db: None) -> None:
    user = make_user()
    client = Api()
    client.force_login(user)

    first, second = _me(client).json(), _me(client).json()

    assert first["project_id"] == second["project_id"] == str(projects.personal_of(user).pk)
    assert first["role"] == "admin"


def test_a_session_changes_nothing_without_its_csrf_token(actor: Actor) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(actor.user)
    body = '{"name": "New"}'

    refused = browser.post("/api/test-suites", body, content_type="application/json")
    # The login page hands the token out.
    browser.get("/admin/login/")
    browser.get("/admin/password_change/")
    token = browser.cookies["csrftoken"].value
    taken = browser.post(
        "/api/test-suites", body, content_type="application/json", headers={"X-CSRFToken": token}
    )

    assert refused.status_code == 403
    assert refused.json()["error"] == "permission_denied"
    assert "CSRF" in refused.json()["message"]
    assert taken.status_code == 201


def test_a_session_reads_without_a_csrf_token(actor: Actor) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(actor.user)

    assert browser.get("/api/me").status_code == 200


def test_a_key_needs_no_csrf_token(actor: Actor) -> None:
    _, text = make_key(actor)
    client = Api(enforce_csrf_checks=True, headers={"X-API-Key": text})

    assert client.create("test-suites", {"name": "New"}).status_code == 201


def test_the_session_of_somebody_who_left_is_401(actor: Actor) -> None:
    client = with_session(actor)
    actor.user.is_active = False
    actor.user.save()

    assert _me(client).status_code == 401


@pytest.mark.parametrize("path", ["/api/me", "/experiments", "/admin/", "/login"])
@pytest.mark.parametrize("key", ['"\\000aaaaaaaaaaa"', "é" * 12, "A" * 32])
@pytest.mark.django_db
def test_a_cookie_that_no_session_can_have_is_nobodys(path: str, key: str) -> None:
    answer = anonymous().get(path, headers={"Cookie": f"sessionid={key}"})

    assert answer.status_code in {200, 302, 401}
