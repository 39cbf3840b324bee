"""The web process is killed with -9 right after its answers: what it promised exists."""

import http.client
import json
import time
import uuid
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from pytest_django import Settings

from access.models import IdempotencyKey
from batches import engine
from batches.models import Batch, BatchStatus
from tests.factories import make_actor, make_endpoint, make_key, make_suite
from tests.faults.long_batches import Line, report
from tests.faults.sizes import SIZES, chance
from tests.processes_at_work import until, web
from tests.servers_http import ModelServer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
]

LATEST_KILL_SECONDS = 0.05


def _post(port: int, key: str, body: dict[str, object], idempotency_key: str) -> str | None:
    """Start a batch; return its id, or None where no whole answer came."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Idempotency-Key": idempotency_key,
    }
    try:
        client.request("POST", "/api/batches", json.dumps(body), headers)
        answer = client.getresponse()
        read = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        client.close()
    assert answer.status == http.HTTPStatus.ACCEPTED, read
    return str(read["id"])


def test_what_was_answered_survives_the_death_of_the_web_process(
    tmp_path: Path, settings: Settings
) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.0/8"]
    moments = chance("web killed")
    actor = make_actor()
    _, key = make_key(actor)
    suite = make_suite(actor, cases=2)
    with ModelServer() as server, web(tmp_path) as (port, running):
        endpoint = make_endpoint(actor, base_url=server.base_url)
        body: dict[str, object] = {"test_suite_id": str(suite.pk), "model_id": str(endpoint.pk)}
        until(lambda: _post(port, key, body, "warm") is not None, what="web answers")
        answered: dict[str, str] = {}
        for number in range(SIZES.web_kills):
            name = f"{number}-{uuid.UUID(int=moments.getrandbits(128))}"
            first = _post(port, key, body, name)
            assert first is not None
            time.sleep(moments.uniform(0, LATEST_KILL_SECONDS))
            for child in psutil.Process(running.process.pid).children():
                child.kill()
            # The client that lost its answer asks again with the same key.
            again = ""
            while not again:
                again = _post(port, key, body, name) or ""
            assert again == first
            answered[name] = first

        for batch_id in answered.values():
            engine.work(uuid.UUID(batch_id), stopping=lambda: False)

    calls = 2 * len(answered)
    report(Line("web killed after its answer", calls, SIZES.web_kills))
    states = set(Batch.objects.filter(pk__in=answered.values()).values_list("status", flat=True))
    assert states == {BatchStatus.COMPLETED}
    assert len(set(answered.values())) == SIZES.web_kills
    assert IdempotencyKey.objects.filter(key__in=answered).count() == SIZES.web_kills
