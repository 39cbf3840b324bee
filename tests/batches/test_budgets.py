"""A batch with a budget: what it reserves, when it stops, and that raising it goes on."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from access import clock
from access.errors import Invalid
from batches import batches, claims, rescues
from batches.models import Batch, BatchStatus, Job, JobOutcome
from batches.results import Claim, Result
from tests.batches.engine_at_work import make_asked, work_to_the_end
from tests.clients import Api, with_key
from tests.factories import NOW, make_actor, make_batch, make_endpoint, make_suite
from tests.processes_at_work import at_once
from tests.servers_http import ModelServer

CALL = Decimal("0.004")
NOTHING = Decimal(0)
# "Say 1." comes back as two tokens.
PRICES = {"price_input": 0, "price_output": 2000}


def make_priced(cases: int = 12, **config: Any) -> Batch:
    actor = make_actor()
    endpoint = make_endpoint(actor, price_input=0, price_output=2000)
    wanted: dict[str, Any] = {"parameters": {"max_tokens": 2}, "max_cost": 10 * CALL}
    return make_batch(
        actor, suite=make_suite(actor, cases=cases), endpoint=endpoint, **(wanted | config)
    )


def take(batch: Batch, want: int = 100, held: int = 0) -> list[Claim]:
    return claims.exchange(batch.pk, [], want=want, held=held, now=NOW).claims


def paid(claim: Claim, cost: Decimal = CALL) -> Result:
    return Result(claim, JobOutcome.PASSED, 1, 1.0, score=1.0, latency_ms=1.0, cost=cost)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"max_tokens": 2}, id="the guess is right"),
        pytest.param({}, id="the guess of one call exceeds the budget"),
        pytest.param({"max_tokens": 3}, id="the guess is too high"),
    ],
)
def test_half_a_dollar_at_four_tenths_of_a_cent_makes_125_calls(
    server: ModelServer, parameters: dict[str, int]
) -> None:
    server.configure(latency_ms=10)
    batch = make_asked(
        server,
        200,
        endpoint=PRICES,
        concurrency=5,
        max_cost=Decimal("0.50"),
        parameters=parameters,
    )

    work_to_the_end(batch)

    assert server.calls().count == 125
    assert (batch.status, batch.error_class) == (BatchStatus.STOPPED_BUDGET, "budget")
    assert (batch.done, batch.total_cost, batch.reserved_cost) == (125, Decimal("0.5"), NOTHING)
    assert "Stopped at 125 of 200 calls" in batch.error_message
    assert "max_cost 0.5 USD, of which 0.5" in batch.error_message
    assert Job.objects.filter(batch=batch, status="not_run").count() == 75

    Batch.objects.filter(pk=batch.pk).update(max_cost=1)
    batches.resume(batch, now=clock.database_now())
    work_to_the_end(batch)

    assert (batch.status, batch.passed) == (BatchStatus.COMPLETED, 200)
    assert (batch.total_cost, batch.reserved_cost) == (Decimal("0.8"), NOTHING)
    assert set(server.calls().prompts.values()) == {1}


@pytest.mark.django_db
def test_calls_that_cost_more_than_expected_exceed_it_by_those_in_flight_at_most() -> None:
    batch = make_priced(40, concurrency=4)
    spent = Decimal(0)
    held: list[Claim] = []
    results: list[Result] = []
    while True:
        answer = claims.exchange(batch.pk, results, want=6, held=len(held), now=NOW)
        if not answer.open:
            break
        held += answer.claims
        results = [paid(held.pop(0), cost=3 * CALL)]
        spent += 3 * CALL
        batch.refresh_from_db()
        assert batch.reserved_cost == sum(
            Job.objects.filter(batch=batch, status="running").values_list(
                "reserved_cost", flat=True
            )
        )

    batch.refresh_from_db()
    assert (batch.status, batch.reserved_cost) == ("stopped_budget", NOTHING)
    assert batch.total_cost == spent
    # Six were claimed before the first one told its price.
    assert spent <= 10 * CALL + 6 * 3 * CALL


@pytest.mark.django_db
def test_what_is_in_flight_is_set_aside_before_more_is_handed_out() -> None:
    batch = make_priced(12, concurrency=50, max_cost=4 * CALL)

    held = take(batch)

    assert len(held) == 4
    assert [claim.reserved_cost for claim in held] == [CALL] * 4
    batch.refresh_from_db()
    assert batch.reserved_cost == 4 * CALL
    assert take(batch) == []
    claims.give_back(batch.pk, held[:1], now=NOW)
    batch.refresh_from_db()
    assert batch.reserved_cost == 3 * CALL
    assert len(take(batch)) == 1


@pytest.mark.django_db
def test_what_a_lost_worker_had_set_aside_counts_as_spent() -> None:
    batch = make_priced()
    later = NOW + timedelta(hours=1)
    lost = take(batch, 3)

    rescues.free_lost(later)

    batch.refresh_from_db()
    assert (batch.total_cost, batch.reserved_cost, batch.running) == (3 * CALL, NOTHING, 0)
    # The late answer changes nothing.
    claims.exchange(batch.pk, [paid(lost[0])], want=0, now=later)
    batch.refresh_from_db()
    assert (batch.total_cost, batch.reserved_cost, batch.done) == (3 * CALL, NOTHING, 0)


@pytest.mark.django_db
def test_a_call_that_failed_gives_back_what_was_set_aside() -> None:
    batch = make_priced()
    (claim,) = take(batch, 1)
    broken = replace(
        paid(claim), outcome=JobOutcome.ERROR, cost=None, latency_ms=None, error_class="infra"
    )

    claims.exchange(batch.pk, [broken], want=0, now=NOW)

    batch.refresh_from_db()
    assert (batch.total_cost, batch.reserved_cost, batch.errors) == (None, NOTHING, 1)


@pytest.mark.django_db
def test_a_budget_that_suffices_to_the_cent_completes() -> None:
    batch = make_priced(5, max_cost=5 * CALL)

    claims.exchange(batch.pk, [paid(claim) for claim in take(batch)], want=5, now=NOW)

    batch.refresh_from_db()
    assert (batch.status, batch.total_cost) == (BatchStatus.COMPLETED, 5 * CALL)


@pytest.mark.django_db
def test_a_budget_without_a_known_price_is_refused() -> None:
    actor = make_actor()
    endpoint = make_endpoint(actor, provider="openai", base_url="https://a.example", model="nobody")

    with pytest.raises(Invalid, match=f"price of '{endpoint.name}' is unknown") as refused:
        make_batch(actor, endpoint=endpoint, max_cost=Decimal(1))

    assert list(refused.value.details) == ["max_cost"]
    assert not Batch.objects.exists()


@pytest.mark.django_db
def test_the_api_takes_a_budget_and_says_why_it_cannot(api: Api) -> None:
    actor = make_actor()
    suite = make_suite(actor)
    known = make_endpoint(actor, price_input=1, price_output=2)
    unknown = make_endpoint(actor, provider="openai", base_url="https://a.example", model="nobody")
    client = with_key(actor)
    body = {"test_suite_id": str(suite.pk), "max_cost": "0.25", "delay_ms": 5}

    good = client.create("batches", body | {"model_id": str(known.pk)})
    bad = client.create("batches", body | {"model_id": str(unknown.pk)})

    assert good.status_code == 202, good.json()
    assert Decimal(good.json()["max_cost"]) == Decimal("0.25")
    assert good.json()["delay_ms"] == 5
    assert bad.status_code == 400
    assert list(bad.json()["details"]) == ["max_cost"]


@pytest.mark.django_db
def test_a_budget_is_raised_over_the_api_as_the_batch_says() -> None:
    batch = make_priced(12, max_cost=2 * CALL)
    claims.exchange(batch.pk, [paid(claim) for claim in take(batch)], want=9, now=NOW)
    batch.refresh_from_db()
    assert "Raise max_cost and resume the batch" in batch.error_message
    assert batch.suite is not None
    client = with_key(make_actor(batch.suite.user))
    path = f"batches/{batch.pk}"

    raised = client.change(path, {"max_cost": "1"})
    resumed = client.create(f"{path}/resume")

    assert (raised.status_code, resumed.status_code) == (200, 202), raised.json()
    assert len(take(batch)) == 10
    free = make_batch(make_actor(batch.suite.user))
    assert client.change(f"batches/{free.pk}", {"max_cost": None}).status_code == 200
    refused = client.change(f"batches/{free.pk}", {"max_cost": "1"})
    assert refused.status_code == 400
    assert "made without a budget" in refused.json()["details"]["max_cost"][0]


@pytest.mark.django_db(transaction=True)
def test_two_workers_together_keep_to_the_budget() -> None:
    batch = make_priced(60, concurrency=20, max_cost=10 * CALL)

    def worker() -> None:
        held: list[Claim] = []
        results: list[Result] = []
        while True:
            answer = claims.exchange(batch.pk, results, want=3, held=len(held), now=NOW)
            held += answer.claims
            if not answer.open or not held:
                return
            results = [paid(held.pop())]

    at_once(worker, worker)

    batch.refresh_from_db()
    assert (batch.done, batch.total_cost, batch.reserved_cost) == (10, 10 * CALL, NOTHING)
    assert batch.status == BatchStatus.STOPPED_BUDGET
