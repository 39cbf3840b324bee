"""Idempotency-Key: same key and body, same answer, one row. Other body, 409."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from access import clock, idempotency
from access.actors import Actor
from access.models import IdempotencyKey
from batches import batches, suites
from batches.models import Batch
from evalsched.models import Run
from tests.clients import Api, with_key
from tests.factories import (
    NOW,
    make_actor,
    make_batch,
    make_case_draft,
    make_endpoint,
    make_schedule,
    make_suite,
)


@dataclass(frozen=True)
class Start:
    """A POST that starts work, another body for it, and how much work there is."""

    path: str
    body: Any
    other: Any
    count: Callable[[], int]


def _batch(actor: Actor) -> Start:
    suite, endpoint = make_suite(actor), make_endpoint(actor)
    body = {"test_suite_id": str(suite.pk), "model_id": str(endpoint.pk)}
    return Start("batches", body, body | {"repeats": 2}, Batch.objects.count)


def _batch_testing(actor: Actor) -> Start:
    start = _batch(actor)
    return Start("batch-testing/run", {"config": start.body}, {"config": start.other}, start.count)


def _trigger(actor: Actor) -> Start:
    schedule = make_schedule(actor)
    path = f"scheduled-evaluations/{schedule.pk}/trigger"
    return Start(path, None, {"other": True}, Run.objects.count)


def _resume(actor: Actor) -> Start:
    batch = make_batch(actor)
    batches.cancel(batch, now=NOW)
    # Started over, it may not be started over again: the second request would be a 409 otherwise.
    path = f"batches/{batch.pk}/resume"
    return Start(path, None, {"other": True}, Batch.objects.filter(status="pending").count)


@pytest.fixture(params=[_batch, _batch_testing, _trigger, _resume], ids=lambda make: make.__name__)
def start(request: pytest.FixtureRequest, actor: Actor) -> Start:
    made: Start = request.param(actor)
    return made


def _post(api: Api, start: Start, key: str, body: object = ...) -> Any:
    wanted = start.body if body is ... else body
    return api.create(start.path, wanted, **{"Idempotency-Key": key})


def test_the_same_key_and_body_get_the_same_answer_once(start: Start, api: Api) -> None:
    first, second = _post(api, start, "k"), _post(api, start, "k")

    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert start.count() == 1


def test_the_same_key_with_another_body_is_409(start: Start, api: Api) -> None:
    _post(api, start, "k")
    answer = _post(api, start, "k", start.other)

    assert answer.status_code == 409
    assert answer.json()["error"] == "conflict"
    assert start.count() == 1


def test_without_a_key_every_request_starts_work(actor: Actor, api: Api) -> None:
    start = _trigger(actor)

    api.create(start.path)
    api.create(start.path)

    assert start.count() == 2


def test_another_key_starts_work_again(actor: Actor, api: Api) -> None:
    start = _batch(actor)

    first, second = _post(api, start, "one"), _post(api, start, "two")

    assert first.json()["id"] != second.json()["id"]
    assert start.count() == 2


def test_the_same_key_means_another_thing_elsewhere(actor: Actor, api: Api) -> None:
    """At another address, or from somebody else."""
    start, other = _trigger(actor), _trigger(actor)

    answers = [
        _post(api, start, "k"),
        _post(api, other, "k"),
        _post(with_key(actor), start, "k"),
    ]

    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.json()["id"] for answer in answers}) == 3


def test_the_slash_makes_it_no_other_address(actor: Actor, api: Api) -> None:
    start = _trigger(actor)
    slashed = Start(start.path + "/", start.body, start.other, start.count)

    assert _post(api, start, "k").json() == _post(api, slashed, "k").json()


def test_a_request_that_failed_does_not_burn_its_key(actor: Actor, api: Api) -> None:
    suite = make_suite(actor, cases=0)
    body = {"test_suite_id": str(suite.pk), "model_id": str(make_endpoint(actor).pk)}
    start = Start("batches", body, None, Batch.objects.count)

    refused = _post(api, start, "k")
    suites.put(actor, suite, [make_case_draft()])
    taken = _post(api, start, "k")

    assert refused.status_code == 400
    assert taken.status_code == 202
    assert start.count() == 1


def test_a_crash_does_not_burn_its_key(
    actor: Actor, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = _batch(actor)
    api.raise_request_exception = False

    with monkeypatch.context() as patched:
        patched.setattr("access.audit.record", lambda *_: 1 / 0)
        crashed = _post(api, start, "k")
    again = _post(api, start, "k")

    assert (crashed.status_code, again.status_code) == (500, 202)
    assert start.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("make", [_batch, _trigger], ids=lambda make: make.__name__)
def test_two_at_once_make_one_row(make: Callable[[Actor], Start]) -> None:
    actor = make_actor()
    start, client_of = make(actor), with_key(actor).defaults
    barrier = threading.Barrier(4)

    def post() -> Any:
        client = Api()
        client.defaults = client_of
        barrier.wait(timeout=30)
        try:
            return _post(client, start, "k")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        answers = [future.result() for future in [pool.submit(post) for _ in range(4)]]

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert start.count() == 1


def test_a_key_is_forgotten_after_a_day(actor: Actor, api: Api) -> None:
    start = _trigger(actor)
    first = _post(api, start, "k").json()
    now = clock.database_now()
    IdempotencyKey.objects.update(created_at=now - idempotency.KEEP - timedelta(seconds=1))

    second = _post(api, start, "k").json()

    assert first["id"] != second["id"]


def test_old_keys_are_swept_and_young_ones_kept(actor: Actor, api: Api) -> None:
    start = _trigger(actor)
    _post(api, start, "old")
    now = clock.database_now()
    IdempotencyKey.objects.update(created_at=now - idempotency.KEEP - timedelta(seconds=1))
    _post(api, start, "young")

    assert idempotency.forget_old(now) == 1
    assert IdempotencyKey.objects.get().key == "young"


def test_a_key_without_end_is_400(actor: Actor, api: Api) -> None:
    start = _trigger(actor)

    assert _post(api, start, "k" * 201).status_code == 400
    assert _post(api, start, "k" * 200).status_code == 202
