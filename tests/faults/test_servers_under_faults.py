"""Redis killed or frozen, PostgreSQL restarted: results are kept, and the API answers meanwhile."""

import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from access import clock
from batches import batches
from batches.models import Batch
from tests.factories import make_actor, make_case_draft, make_endpoint, make_key, make_suite
from tests.faults.long_batches import CASES, CONCURRENCY, EARLY, Ends, Story, done, wait_for_the_end
from tests.faults.sites import (
    Client,
    Outage,
    Site,
    asking,
    counting_ends,
    end_redis,
    freeze_redis,
    restart_postgres,
)
from tests.faults.sizes import MOST_ANSWER_SECONDS, SIZES
from tests.processes_at_work import beat, until, worker
from tests.servers_http import ModelServer

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]


@dataclass(frozen=True)
class Stage:
    """Where an outage takes place."""

    site: Site
    server: ModelServer
    ends: Ends
    directory: Path


@pytest.fixture
def stage(site: Site, server: ModelServer, tmp_path: Path) -> Iterator[Stage]:
    with counting_ends() as ends:
        yield Stage(site, server, ends, tmp_path)
    for left in Batch.objects.open():
        batches.cancel(left, now=clock.database_now())


def strike(stage: Stage, fault: str, outage: Outage) -> Client:
    """Let a program use the API and a worker work while the outage lasts; judge what came of it.

    Everything is the real thing: beat sends the ticks, and the batch is made through the API.
    """
    site, server, directory = stage.site, stage.server, stage.directory
    server.configure(latency_ms=SIZES.outage_latency_ms)
    actor = make_actor()
    endpoint = make_endpoint(actor, provider="openai", base_url=server.base_url, model="m")
    suite = make_suite(actor, cases=CASES)
    one = make_suite(actor, cases=[make_case_draft(prompt="Tell 1.")])
    client = Client(site.port, make_key(actor)[1])

    def asked(suite_id: uuid.UUID, concurrency: int) -> dict[str, object]:
        names = {"test_suite_id": str(suite_id), "model_id": str(endpoint.pk)}
        return names | {"concurrency": concurrency}

    # The default lease: no worker is lost here, and none may count as lost for a slow restart.
    environment = site.environment | SIZES.holding | {"EVALSCHED_LEASE_SECONDS": ""}
    with worker(directory, settings=environment) as running, beat(directory, **environment):
        status, said = client.send("POST", "/api/batches", asked(suite.pk, CONCURRENCY))
        assert status == 202, said
        batch = Batch.objects.get(pk=str(said["id"]))
        story = Story(fault, batch, server, losing=False)
        until(lambda: done(batch) >= EARLY, seconds=60, what=running.said)
        client.longest_s = 0
        requests = (
            ("GET", "/api/batches", None),
            ("POST", "/api/batches", asked(one.pk, 1)),
            ("GET", "/readyz", None),
        )
        with asking(client, *requests) as made:
            outage(site)
        assert done(batch) < CASES
        story.struck()
        wait_for_the_end(batch)
        if SIZES.soak:
            for batch_id in made:
                wait_for_the_end(Batch.objects.get(pk=batch_id))
    assert len(set(made)) == Batch.objects.filter(pk__in=made).count()
    story.longest_answer_s = client.longest_s
    story.judge(stage.ends)
    return client


@pytest.mark.parametrize(
    ("fault", "outage"),
    [
        ("Redis killed, back empty", partial(end_redis, seconds=SIZES.redis_away_s)),
        ("Redis frozen", partial(freeze_redis, seconds=SIZES.redis_frozen_s)),
    ],
)
def test_without_redis_the_api_answers_and_nothing_is_lost(
    stage: Stage, fault: str, outage: Outage
) -> None:
    client = strike(stage, fault, outage)

    # What is made is 202, lists are 200, and readiness says that the broker is away.
    assert set(client.statuses) <= {200, 202, 503}
    assert client.statuses[202] >= 1
    if SIZES.soak:
        assert client.longest_s <= MOST_ANSWER_SECONDS, client.slowest


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        ("PostgreSQL restarted, immediate", signal.SIGQUIT),
        ("PostgreSQL restarted, fast", signal.SIGINT),
    ],
)
def test_a_restart_of_postgresql_costs_only_time(
    stage: Stage, fault: str, number: signal.Signals
) -> None:
    outage = partial(restart_postgres, number=number, seconds=SIZES.postgres_away_s)
    client = strike(stage, fault, outage)

    assert set(client.statuses) <= {200, 202, 503}
