"""Two clients at the same moment: one changes what the other deletes or changes as well."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.db import connection

from access.actors import Actor
from batches import endpoints, suites
from batches.models import ModelEndpoint, TestCase
from evalsched import admission, schedules
from evalsched.models import Schedule
from tests.clients import Api, with_key
from tests.factories import (
    NOW,
    make_case_draft,
    make_endpoint,
    make_run,
    make_schedule,
    make_suite,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api(actor: Actor) -> Api:
    return with_key(actor)


def _together(*tasks: Callable[[], Any]) -> list[Any]:
    def alone(task: Callable[[], Any]) -> Any:
        try:
            return task()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(alone, tasks))


def test_an_endpoint_that_was_deleted_stays_deleted_whatever_is_saved_meanwhile(
    actor: Actor, api: Api
) -> None:
    for _ in range(8):
        endpoint = make_endpoint(actor)

        changed, deleted = _together(
            partial(api.change, f"models/{endpoint.pk}", {"model": "other"}),
            partial(api.remove, f"models/{endpoint.pk}"),
        )

        assert deleted.status_code == 204
        assert changed.status_code in {200, 404}
        assert not ModelEndpoint.objects.filter(pk=endpoint.pk).exists()


def test_a_stale_endpoint_writes_only_what_it_changes(actor: Actor) -> None:
    endpoint = make_endpoint(actor, api_key="old")
    stale = ModelEndpoint.objects.get(pk=endpoint.pk)
    endpoints.change(actor, endpoint, api_key="new")

    endpoints.change(actor, stale, name="Renamed")

    stored = ModelEndpoint.objects.get(pk=endpoint.pk)
    assert (stored.name, endpoints.connection(stored).api_key) == ("Renamed", "new")


def test_a_stale_suite_does_not_turn_back_its_version(actor: Actor) -> None:
    suite = make_suite(actor, cases=1)
    stale = type(suite).objects.get(pk=suite.pk)
    suites.put(actor, suite, [make_case_draft(2), make_case_draft(3)])

    suites.change(actor, stale, description="Changed")

    suite.refresh_from_db()
    assert (suite.version, suite.case_count) == (2, 3)
    assert TestCase.objects.filter(suite=suite).current().count() == 3


def test_of_two_toggles_at_once_neither_is_lost(actor: Actor, api: Api) -> None:
    schedule = make_schedule(actor)

    for _ in range(5):
        toggle = partial(api.create, f"scheduled-evaluations/{schedule.pk}/toggle", {})
        _together(toggle, toggle)

        schedule.refresh_from_db()
        assert schedule.is_active


@pytest.mark.parametrize("path", ["", "/toggle", "/trigger"])
def test_what_is_deleted_meanwhile_is_not_found(actor: Actor, api: Api, path: str) -> None:
    for _ in range(6):
        schedule = make_schedule(actor)
        address = f"scheduled-evaluations/{schedule.pk}"
        ask = (
            partial(api.create, address + path, {})
            if path
            else partial(api.change, address, {"description": "x"})
        )

        answer, _ = _together(ask, partial(api.remove, address))

        assert answer.status_code in {200, 202, 404, 409}, answer.content


def test_a_run_executes_what_its_snapshot_says(actor: Actor) -> None:
    before, after = make_endpoint(actor), make_endpoint(actor)
    schedule = make_schedule(actor, endpoint=before)
    run = make_run(schedule)
    schedules.change(actor, schedule, now=NOW, endpoint=after)

    admission.start_queued(NOW)

    run.refresh_from_db()
    assert run.batch.endpoint_id == before.pk
    assert Schedule.objects.get(pk=schedule.pk).endpoint_id == after.pk
