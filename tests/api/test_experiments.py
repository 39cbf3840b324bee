"""Agents, documents and experiments over the API, as a program meets them."""

from typing import Any

import pytest
from pytest_django import Settings

from access.actors import Actor
from batches.models import Agent, Batch, Document, Tombstone
from tests.clients import Api, with_key
from tests.factories import (
    make_actor,
    make_batch,
    make_endpoint,
    make_experiment,
    make_member,
    make_suite,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor() -> Actor:
    return make_actor()


@pytest.fixture
def api(actor: Actor) -> Api:
    return with_key(actor)


def experiment(actor: Actor, **fields: Any) -> dict[str, Any]:
    return {
        "is_ephemeral": True,
        "ephemeral_agent": {
            "name": "Trial",
            "primary_instructions": "Summarise.",
            "model_id": make_endpoint(actor).name,
        },
        "ephemeral_documents": {"inline": [{"title": "One", "content": "Text."}]},
    } | fields


def test_an_agent_is_made_changed_and_deleted(actor: Actor, api: Api) -> None:
    endpoint = make_endpoint(actor, name="Support bot")
    body = {
        "name": "Helper",
        "model_id": "Support bot",
        "primary_instructions": "Be brief.",
        "assertions": [{"type": "contains", "value": "yes"}],
    }

    made = api.create("agents", body)
    assert made.status_code == 201, made.content
    shown = made.json()
    assert (shown["model_id"], shown["model_name"]) == (str(endpoint.pk), "Support bot")
    assert (shown["ephemeral_batch_id"], shown["expires_at"]) == (None, None)
    path = f"agents/{shown['id']}"
    assert api.change(path, {"name": "Other"}).json()["name"] == "Other"
    assert api.remove(f"models/{endpoint.pk}").status_code == 409
    assert api.remove(path).status_code == 204
    assert api.read(path).status_code == 404


def test_a_bad_assertion_of_an_agent_is_named(actor: Actor, api: Api) -> None:
    body = {"name": "A", "model_id": make_endpoint(actor).name, "assertions": [{"type": "no"}]}

    answer = api.create("agents", body)

    assert answer.status_code == 400
    assert "assertions[0].type" in answer.json()["details"]


def test_a_document_has_content_or_an_address(api: Api) -> None:
    made = api.create("documents", {"content": "First line\nSecond line"})
    assert made.status_code == 201
    assert (made.json()["title"], made.json()["status"]) == ("First line", "ready")
    inward = api.create("documents", {"source_url": "http://127.0.0.1/"})
    assert (inward.status_code, list(inward.json()["details"])) == (400, ["source_url"])
    for body in ({}, {"content": "a", "source_url": "https://example.org"}):
        refused = api.create("documents", body)
        assert (refused.status_code, list(refused.json()["details"])) == (400, ["content"])
    listed = api.read("documents").json()["results"]
    assert [("content" in row, row["title"]) for row in listed] == [(False, "First line")]


def test_a_batch_asks_an_agent_about_documents(actor: Actor, api: Api) -> None:
    ids = [api.create("documents", {"content": f"Text {n}"}).json()["id"] for n in range(3)]
    agent = api.create("agents", {"name": "A", "model_id": make_endpoint(actor).name}).json()

    chosen = api.create("batches", {"agent_id": agent["id"], "document_ids": ids[:2]})
    newest = api.create("batches", {"agent_id": agent["id"], "target_count": 2})
    first = api.create(
        "batches",
        {"agent_id": agent["id"], "test_suite_id": str(make_suite(actor).pk), "target_count": 2},
    )

    for answer in (chosen, newest, first):
        assert answer.status_code == 202, answer.content
        assert answer.json()["total"] == 2
    asked = Document.objects.filter(pk__in=ids[1:])
    jobs = Batch.objects.get(pk=newest.json()["id"]).jobs
    assert set(jobs.values_list("document_id", flat=True)) == {one.pk for one in asked}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ephemeral_agent": None}, "model_id"),
        ({"ephemeral_documents": {"inline": [{"title": "x"}]}}, "ephemeral_documents"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 366}, "expires_in_days"),
        ({"tracking_id": "not one"}, "tracking_id"),
        ({"tracking_id": "x" * 65}, "tracking_id"),
        ({"tracking_id": "."}, "tracking_id"),
        ({"tracking_id": ".."}, "tracking_id"),
        ({"ephemeral_documents": {}}, "test_suite_id"),
        ({"ephemeral_documents": {"urls": [], "inline": []}}, "test_suite_id"),
        ({"is_ephemeral": False}, "ephemeral_agent"),
        (
            {
                "ephemeral_documents": {
                    "urls": ["https://example.org", "ftp://example.org"],
                    "inline": [{"content": "x"}, {"content": "y"}],
                }
            },
            "ephemeral_documents.urls[1]",
        ),
        ({"ephemeral_documents": {"urls": ["http://[::1"]}}, "ephemeral_documents.urls[0]"),
        (
            {"ephemeral_agent": {"name": "A", "model_id": "nobody"}},
            "ephemeral_agent.model_id",
        ),
    ],
)
def test_a_bad_experiment_is_refused_by_field_and_nothing_is_made(
    change: dict[str, Any], field: str, actor: Actor, api: Api
) -> None:
    body = experiment(actor, **change)
    body = {name: value for name, value in body.items() if value is not None}

    answer = api.create("batches", body)

    assert answer.status_code == 400, answer.content
    assert any(name.startswith(field) for name in answer.json()["details"]), answer.content
    assert (Batch.objects.count(), Agent.objects.count(), Document.objects.count()) == (0, 0, 0)


def test_the_assertions_of_an_ephemeral_agent_are_blamed_where_they_stand(
    actor: Actor, api: Api
) -> None:
    make_endpoint(actor, name="Demo")
    model = make_endpoint(actor, name="Answers").name
    for assertion, field in (
        ({"type": "no"}, "ephemeral_agent.assertions[0].type"),
        ({"type": "llm-rubric", "value": "x", "provider": "gone"}, "ephemeral_agent.assertions"),
    ):
        agent = {"name": "Trial", "model_id": model, "assertions": [assertion]}
        body = experiment(actor, ephemeral_agent=agent)

        for path in ("batches", "batches/estimate"):
            answer = api.create(path, body)
            assert answer.status_code == 400, answer.content
            assert list(answer.json()["details"]) == [field]


def test_a_tracking_id_is_explained_and_may_begin_with_dots(actor: Actor, api: Api) -> None:
    refused = api.create("batches", experiment(actor, tracking_id="a b"))
    made = api.create("batches", experiment(actor, tracking_id="...v2"))

    (sentence,) = refused.json()["details"]["tracking_id"]
    assert sentence.startswith("A tracking id is 1 to 64 letters")
    assert made.status_code == 202, made.content
    assert api.read("experiments/...v2").status_code == 200


@pytest.mark.parametrize("path", ["batches", "batches/estimate", "batch-testing/run"])
def test_no_documents_at_all_are_no_subject(path: str, actor: Actor, api: Api) -> None:
    body: dict[str, Any] = {"model_id": make_endpoint(actor).name, "ephemeral_documents": {}}

    answer = api.create(path, {"config": body} if path == "batch-testing/run" else body)

    assert answer.status_code == 400, answer.content
    assert [name.removeprefix("config.") for name in answer.json()["details"]] == ["test_suite_id"]


@pytest.mark.parametrize("name", ["a%00b", "a%20b", "a%0A", "x" * 65])
def test_an_address_that_no_tracking_id_has_is_not_found(name: str, api: Api) -> None:
    answers = [
        api.read(f"experiments/{name}"),
        api.remove(f"experiments/{name}"),
        api.create(f"experiments/{name}/extend", {"expires_in_days": 3}),
        api.read(f"experiments/{name}/export"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert {answer.json()["error"] for answer in answers} == {"not_found"}


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00%2B23:00"])
@pytest.mark.parametrize("path", ["batches", "experiments"])
def test_the_ends_of_time_are_refused(path: str, end: str, api: Api) -> None:
    answer = api.read(f"{path}?expires_before={end}")

    assert answer.status_code == 400, answer.content
    assert answer.json()["details"] == {"expires_before": ["This is out of range."]}


def test_an_experiment_from_its_start_to_its_tombstone(actor: Actor, api: Api) -> None:
    started = api.create("batches", experiment(actor, tracking_id="trial", description="Shorter?"))
    assert started.status_code == 202, started.content
    shown = started.json()
    assert (shown["tracking_id"], shown["is_ephemeral"]) == ("trial", True)
    assert shown["agent_name"] == "Trial"

    (row,) = api.read("experiments").json()["results"]
    assert (row["tracking_id"], row["status"], row["batches"]) == ("trial", "running", 1)
    one = api.read("experiments/trial").json()
    assert [run["id"] for run in one["runs"]] == [shown["id"]]
    assert api.read("documents").json()["count"] == 0
    assert api.read("documents?tracking_id=trial").json()["count"] == 1
    assert api.read("agents?is_ephemeral=true").json()["count"] == 1
    assert api.read("batches?type=experiment").json()["count"] == 1
    assert api.read("batches?type=regular").json()["count"] == 0
    extended = api.create("experiments/trial/extend", {"expires_in_days": 60})
    assert extended.json()["expires_at"] > row["expires_at"]

    assert api.remove("experiments/trial").status_code == 409
    assert api.remove("experiments/trial?cancel=true").status_code == 204
    assert Tombstone.objects.get().tracking_id == "trial"
    for way in ("experiments/trial", "experiments/trial/export?format=csv"):
        gone = api.read(way)
        assert gone.status_code == 404
        assert gone.json()["message"].startswith("This experiment was cleaned up, 20")
    assert "no experiment" in api.read("experiments/never").json()["message"]


def test_expired_experiments_are_shown_where_they_are_asked_for(actor: Actor, api: Api) -> None:
    make_experiment(actor)  # in 2025, for a week

    assert api.read("experiments").json()["count"] == 0
    assert api.read("batches").json()["count"] == 0
    assert api.read("experiments?include_expired=true").json()["count"] == 1
    assert api.read("batches?include_expired=true").json()["count"] == 1
    soon = "experiments?include_expired=true&expires_before=2025-01-01T00:00:00Z"
    assert api.read(soon).json()["count"] == 0


def test_a_filter_finds_experiments_with_such_a_batch_and_sums_all_of_theirs(
    actor: Actor, api: Api
) -> None:
    suites = [make_suite(actor), make_suite(actor, cases=1)]
    endpoints = [make_endpoint(actor, name=name) for name in ("fast", "slow")]
    colleague = make_actor(make_member(actor.project).user, project=actor.project)
    for author, suite, endpoint in zip((actor, colleague), suites, endpoints, strict=True):
        make_batch(author, suite=suite, endpoint=endpoint)
    Batch.objects.update(tracking_id="mix")
    make_experiment(colleague, tracking_id="other")

    for query in (
        "tracking_id=mix",
        "model_id=fast",
        f"model_id={endpoints[1].pk}",
        f"test_suite_id={suites[0].pk}",
        f"user_id={actor.user.pk}",
        f"user_id={colleague.user.pk}&model_id=fast",
    ):
        (row,) = api.read(f"experiments?{query}").json()["results"]
        assert (row["tracking_id"], row["batches"], row["total"]) == ("mix", 2, 4), query


def test_an_experiment_lasts_as_long_as_one_of_its_batches(actor: Actor, api: Api) -> None:
    make_experiment(actor, tracking_id="mix")  # in 2025, for a week
    make_batch(actor)
    Batch.objects.update(tracking_id="mix")

    (row,) = api.read("experiments").json()["results"]

    assert row["batches"] == 2


def test_several_batches_make_one_experiment(actor: Actor, api: Api) -> None:
    suite, endpoint = make_suite(actor), make_endpoint(actor)
    body = {"test_suite_id": str(suite.pk), "model_id": endpoint.name, "tracking_id": "pair"}

    for _ in range(2):
        assert api.create("batches", body).status_code == 202

    one = api.read("experiments/pair").json()
    assert (one["batches"], one["total"], one["expires_at"]) == (2, 6, None)
    assert one["unscored"] == 0
    Batch.objects.filter(tracking_id="pair").update(done=3, unscored=3)
    assert api.read("experiments").json()["results"][0]["unscored"] == 6
    assert len(one["runs"]) == 2


def test_a_batch_of_an_experiment_is_deleted_with_a_tombstone(actor: Actor, api: Api) -> None:
    old, new = (make_experiment(actor, tracking_id="pair") for _ in range(2))
    assert api.create(f"batches/{old.pk}/cancel").status_code == 200

    refused = api.remove(f"batches/{old.pk}")
    assert (refused.status_code, "under way" in refused.json()["message"]) == (409, True)
    assert api.create(f"batches/{new.pk}/cancel").status_code == 200

    assert api.remove(f"batches/{old.pk}").status_code == 204
    assert Tombstone.objects.get().batch_id == old.pk


def test_an_experiments_document_is_not_changed_and_none_may_be_blank(
    actor: Actor, api: Api
) -> None:
    page = make_experiment(actor).ephemeral_documents.all()[0]

    assert api.change(f"documents/{page.pk}", {"title": "Other"}).status_code == 409
    blank = api.create("documents", {"content": " \n "})
    assert (blank.status_code, list(blank.json()["details"])) == (400, ["content"])


def test_the_documents_of_an_experiment_are_capped_over_its_batches(
    actor: Actor, api: Api, settings: Settings
) -> None:
    settings.EVALSCHED_EXPERIMENT_MAX_DOCUMENTS = 1
    body = experiment(actor, tracking_id="mine")
    first = api.create("batches", body)
    assert first.status_code == 202, first.content

    second = api.create("batches", body)

    assert (second.status_code, list(second.json()["details"])) == (400, ["ephemeral_documents"])
