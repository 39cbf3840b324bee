"""Model endpoints: what is refused, what stays secret, and how people name them."""

from collections.abc import Callable

import pytest
from django.core import serializers
from pytest_django import Settings

from access.errors import Conflict, Invalid
from access.models import AuditEvent
from access.secrets import UnreadableSecret
from batches import agents, endpoints, suites
from batches.models import Agent, ModelEndpoint, TestSuite
from evalsched.models import Schedule
from tests.factories import (
    make_actor,
    make_agent,
    make_case_draft,
    make_endpoint,
    make_schedule,
    make_suite,
)

pytestmark = pytest.mark.django_db
URL = "https://api.example.org/v1"


def make_remote(**fields: object) -> ModelEndpoint:
    actor = make_actor()
    return make_endpoint(actor, **({"provider": "openai", "base_url": URL, "model": "m"} | fields))


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "not an address",
        "ftp://api.example.org",
        "http://127.0.0.1:9/v1",
        "http://169.254.169.254/latest",
        "https://user:pw@api.example.org",
        "http://[::1]/v1",
    ],
)
def test_addresses_that_must_not_be_called_are_refused(base_url: str) -> None:
    with pytest.raises(Invalid) as refused:
        make_remote(base_url=base_url)

    assert list(refused.value.details) == ["base_url"]
    assert not ModelEndpoint.objects.exists()


def test_a_private_host_is_reached_where_the_operator_says_so(settings: Settings) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.0/8"]

    assert make_remote(base_url="http://127.0.0.1:9/v1").base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    "headers", [{"X-A": "b\r\nX-C: d"}, {"bad name": "x"}, {"Host": "elsewhere"}]
)
def test_headers_that_would_break_the_request_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        make_remote(headers=headers)

    assert list(refused.value.details) == ["headers"]


def test_secrets_show_themselves_to_the_provider_only() -> None:
    endpoint = make_remote(api_key="sk-very-secret", headers={"X-Token": "tok-very-secret"})
    stored = ModelEndpoint.objects.get()

    shown = f"{stored!r} {vars(stored)} {serializers.serialize('json', [stored])}"
    trail = str(list(AuditEvent.objects.values_list("details", "object_name")))

    assert "very-secret" not in shown + trail
    opened = endpoints.connection(stored)
    assert (opened.api_key, opened.headers) == ("sk-very-secret", {"X-Token": "tok-very-secret"})
    assert "very-secret" not in repr(opened)
    assert endpoint.pk == stored.pk


def test_a_secret_whose_key_is_gone_says_so(settings: Settings) -> None:
    make_remote(api_key="sk-very-secret")
    settings.FIELD_ENCRYPTION_KEYS = ["another-key-of-at-least-thirty-two-characters"]

    with pytest.raises(UnreadableSecret, match="FIELD_ENCRYPTION_KEYS"):
        endpoints.connection(ModelEndpoint.objects.get())


def test_another_origin_does_not_get_the_old_credentials() -> None:
    actor = make_actor()
    endpoint = make_endpoint(
        actor, provider="openai", base_url=URL, model="m", api_key="k", headers={"X-T": "t"}
    )

    same = endpoints.change(actor, endpoint, base_url="https://api.example.org/v2")
    assert endpoints.connection(same).api_key == "k"
    other = endpoints.change(actor, endpoint, base_url="https://evil.example.net/v1")

    assert endpoints.connection(other).api_key == ""
    assert endpoints.connection(other).headers == {}
    given = endpoints.change(actor, other, base_url=URL, api_key="new")
    assert endpoints.connection(given).api_key == "new"


def test_an_endpoint_is_found_by_id_name_or_unambiguous_model() -> None:
    actor = make_actor()
    mine = make_endpoint(actor, name="Mine", model="gpt")
    one, other = (make_endpoint(actor, name=name, model="claude") for name in ("One", "Other"))
    project = actor.project.pk

    assert endpoints.find(project, str(mine.pk)) == mine
    assert endpoints.find(project, "Mine") == mine
    assert endpoints.find(project, "gpt") == mine
    assert endpoints.find(project, "One") == one
    assert endpoints.find(project, "Other") == other
    with pytest.raises(Invalid, match="Several endpoints serve 'claude'"):
        endpoints.find(project, "claude")
    with pytest.raises(Invalid, match="no model endpoint 'nobody'"):
        endpoints.find(project, "nobody")


def test_somebody_elses_endpoint_is_not_found() -> None:
    theirs = make_endpoint(name="Theirs", model="theirs")

    for wanted in (str(theirs.pk), "Theirs", "theirs"):
        with pytest.raises(Invalid, match="There is no model endpoint"):
            endpoints.find(make_actor().project.pk, wanted)


def test_names_are_unique_in_a_project() -> None:
    actor = make_actor()
    make_endpoint(actor, name="Mine")

    with pytest.raises(Invalid, match="this name already"):
        make_endpoint(actor, name="Mine")
    make_endpoint(name="Mine")


def test_deleting_leaves_a_trail() -> None:
    actor = make_actor()
    endpoint = make_endpoint(actor)

    endpoints.delete(actor, endpoint)

    assert AuditEvent.objects.get(action="endpoint.deleted").object_name == endpoint.name
    assert not ModelEndpoint.objects.exists()


def called(endpoint: ModelEndpoint, by: str) -> str:
    return str(getattr(endpoint, by))


@pytest.mark.parametrize("by", ["pk", "name", "model"])
def test_a_judge_that_assertions_or_schedules_name_is_not_deleted(by: str) -> None:
    actor = make_actor()
    judge = make_endpoint(actor, name="Judge", model="judge-1")
    rubric = {"type": "not-llm-rubric", "value": "It is rude.", "provider": called(judge, by)}
    users: dict[str, Callable[[], object]] = {
        "suite 'Graded'": lambda: suites.delete(actor, TestSuite.objects.get(name="Graded")),
        "agent 'Helper'": lambda: agents.delete(actor, Agent.objects.get(name="Helper")),
        "schedule 'Nightly'": lambda: Schedule.objects.all().delete(),
    }
    make_suite(actor, name="Graded", cases=[make_case_draft(assertions=[rubric])])
    make_agent(actor, name="Helper", assertions=[rubric])
    make_schedule(actor, name="Nightly", batch_test_config={"judge_model_id": called(judge, by)})

    for user in reversed(users):
        with pytest.raises(Conflict, match=f"Judge is used by the {user}. Change or delete"):
            endpoints.delete(actor, judge)
        users[user]()
    endpoints.delete(actor, judge)


def test_what_names_an_endpoint_no_longer_or_means_another_keeps_none() -> None:
    actor = make_actor()
    judge, twin = (make_endpoint(actor, name=name, model="judge-1") for name in ("Judge", "Twin"))
    rubric = {"type": "llm-rubric", "value": "It is polite.", "provider": "Judge"}
    suite = make_suite(actor, cases=[make_case_draft(assertions=[rubric])])
    suites.put(actor, suite, [make_case_draft(assertions=[])])
    # It means none of the two.
    make_schedule(actor, batch_test_config={"embedding_model_id": "judge-1"})
    # Somebody else's.
    make_schedule(batch_test_config={"judge_model_id": "Judge"})

    endpoints.delete(actor, judge)

    with pytest.raises(Conflict, match="Twin is used by the schedule"):
        endpoints.delete(actor, twin)
