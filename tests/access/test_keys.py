"""API keys: made after a login, shown once, kept as prefix and hash, revoked."""

import hashlib
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from access.actors import Actor
from access.errors import Invalid
from access.models import ApiKey, AuditEvent, Role
from tests.clients import Api, anonymous, with_session
from tests.factories import make_actor, make_key, make_member, make_project


@pytest.fixture
def browser(actor: Actor) -> Api:
    return with_session(actor)


def _works(text: str) -> bool:
    return bool(anonymous().read("me", **{"X-API-Key": text}).status_code == 200)


def test_a_key_is_shown_once(browser: Api, actor: Actor) -> None:
    made = browser.create("keys", {"name": "CI", "scopes": ["read", "write"]})

    assert made.status_code == 201
    shown = made.json()
    text = shown["key"]
    assert text.startswith(f"es_{shown['prefix']}_")
    assert shown["scopes"] == ["read", "write"]
    assert shown["project_id"] == str(actor.project.pk)
    assert _works(text)
    again = browser.read(f"keys/{shown['id']}")
    listed = browser.read("keys")
    for answer in (again, listed):
        assert answer.status_code == 200
        assert "key" not in answer.json()
        assert text not in answer.content.decode()


def test_only_prefix_and_hash_are_stored(actor: Actor) -> None:
    key, text = make_key(actor)

    with connection.cursor() as cursor:
        cursor.execute("SELECT k::text FROM access_apikey k WHERE id = %s", [key.pk])
        row = cursor.fetchone()[0]
        cursor.execute("SELECT string_agg(e::text, '') FROM access_auditevent e")
        trail = cursor.fetchone()[0]

    secret = text.removeprefix(f"es_{key.prefix}_")
    assert secret not in row
    assert secret not in trail
    assert key.key_hash == hashlib.sha256(text.encode()).hexdigest()
    assert len(secret) >= 43  # 256 bits


def test_two_keys_are_never_alike(actor: Actor) -> None:
    assert len({make_key(actor)[1] for _ in range(20)}) == 20


def test_a_revoked_key_opens_nothing_and_stays_listed(browser: Api) -> None:
    made = browser.create("keys", {"name": "CI", "scopes": ["read"]}).json()

    revoked = browser.remove(f"keys/{made['id']}")

    assert revoked.status_code == 204
    assert not _works(made["key"])
    (listed,) = browser.read("keys").json()["results"]
    assert listed["revoked_at"] is not None


def test_revoking_twice_changes_nothing(browser: Api) -> None:
    made = browser.create("keys", {"name": "CI", "scopes": ["read"]}).json()
    browser.remove(f"keys/{made['id']}")
    first = ApiKey.objects.get(pk=made["id"]).revoked_at

    again = browser.remove(f"keys/{made['id']}")

    assert again.status_code == 204
    assert ApiKey.objects.get(pk=made["id"]).revoked_at == first
    assert AuditEvent.objects.filter(action="api_key.revoked").count() == 1


def test_making_and_revoking_are_in_the_audit_log(browser: Api) -> None:
    made = browser.create("keys", {"name": "CI", "scopes": ["read"]}).json()
    browser.remove(f"keys/{made['id']}")

    trail = AuditEvent.objects.filter(object_id=made["id"]).order_by("created_at")
    assert [event.action for event in trail] == ["api_key.created", "api_key.revoked"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_key_manages_no_keys(method: str, actor: Actor) -> None:
    key, text = make_key(actor)
    path = f"keys/{key.pk}" if method == "DELETE" else "keys"
    body = {"name": "child", "scopes": ["write"]} if method == "POST" else None

    answer = Api(headers={"X-API-Key": text}).send(method, path, body)

    assert answer.status_code == 403
    assert "login" in answer.json()["message"]
    assert ApiKey.objects.count() == 1
    assert _works(text)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "CI"}, "scopes"),
        ({"name": "CI", "scopes": []}, "scopes"),
        ({"name": "CI", "scopes": ["admin"]}, "scopes.0"),
        ({"name": "CI", "scopes": "read"}, "scopes"),
        ({"scopes": ["read"]}, "name"),
        ({"name": "CI", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "CI", "scopes": ["read"], "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "CI", "scopes": ["read"], "owner": "me"}, "owner"),
    ],
    ids=str,
)
def test_a_bad_key_is_refused_by_its_field(
    body: dict[str, object], field: str, browser: Api
) -> None:
    answer = browser.create("keys", body)

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field]
    assert not ApiKey.objects.exists()


def test_what_only_the_service_writes_is_ignored(browser: Api) -> None:
    made = browser.create(
        "keys", {"name": "CI", "scopes": ["read"], "prefix": "mine", "revoked_at": None, "id": 1}
    )

    assert made.status_code == 201
    assert made.json()["prefix"] != "mine"


def test_a_key_with_a_date_works_until_then(browser: Api) -> None:
    until = timezone.now() + timedelta(hours=1)

    made = browser.create(
        "keys", {"name": "CI", "scopes": ["read"], "expires_at": until.isoformat()}
    )

    assert made.status_code == 201
    assert _works(made.json()["key"])


def test_members_of_one_project_do_not_see_each_others_keys(db: None) -> None:
    project = make_project()
    mine = make_actor(make_member(project).user, project=project)
    theirs = make_actor(make_member(project).user, project=project)
    key, _ = make_key(theirs)
    browser = with_session(mine)

    assert browser.read("keys").json()["count"] == 0
    assert browser.read(f"keys/{key.pk}").status_code == 404
    assert browser.remove(f"keys/{key.pk}").status_code == 404


def test_the_command_prints_the_key_alone(actor: Actor) -> None:
    out = StringIO()

    call_command(
        "create_api_key",
        *("--user", actor.user.username, "--name", "CI", "--scopes", "read, write"),
        stdout=out,
    )

    (text,) = out.getvalue().splitlines()
    assert _works(text)
    key = ApiKey.objects.get()
    assert (key.project_id, key.scopes) == (actor.project.pk, ["read", "write"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--user", "nobody", "--name", "CI"), "no active user named 'nobody'"),
        (("--user", "{user}", "--name", "x" * 300), "at most 200 characters"),
        (("--user", "{user}", "--name", ""), "at most 200 characters"),
        (("--user", "{user}", "--name", "CI", "--scopes", "all"), "Scopes are read, write, ingest"),
        (
            ("--user", "{user}", "--name", "CI", "--project", "{foreign}"),
            "no such project, or you are not a member",
        ),
    ],
    ids=str,
)
def test_the_command_says_what_is_wrong(
    arguments: tuple[str, ...], sentence: str, actor: Actor
) -> None:
    foreign = make_project()
    filled = [
        argument.format(user=actor.user.username, foreign=foreign.pk) for argument in arguments
    ]

    with pytest.raises(CommandError, match=sentence):
        call_command("create_api_key", *filled)

    assert not ApiKey.objects.exists()


def test_nobody_gets_a_key_for_a_project_they_are_not_in(actor: Actor) -> None:
    outsider = make_actor(project=actor.project)

    with pytest.raises(Invalid, match="no member"):
        make_key(outsider)

    assert not ApiKey.objects.exists()


def test_a_key_made_by_command_belongs_to_the_project_it_names(actor: Actor) -> None:
    shared = make_project(actor.user)

    call_command(
        "create_api_key",
        *("--user", actor.user.username, "--name", "CI", "--project", str(shared.pk)),
        stdout=StringIO(),
    )

    assert ApiKey.objects.get().project_id == shared.pk


def test_a_viewers_key_can_do_no_more_than_the_viewer(db: None) -> None:
    member = make_member(role=Role.VIEWER)
    viewer = make_actor(member.user, project=member.project)

    made = with_session(viewer).create("keys", {"name": "CI", "scopes": ["read", "write"]})
    client = Api(headers={"X-API-Key": made.json()["key"]})

    assert made.status_code == 201
    assert client.read("models").status_code == 200
    assert client.create("test-suites", {"name": "New"}).status_code == 403
