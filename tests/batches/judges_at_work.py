"""Batches whose answers a scripted server judges or embeds."""

import json
from collections.abc import Sequence
from typing import Any

from access import clock
from batches.cases import CaseDraft
from batches.models import Batch, Job
from tests.factories import make_actor, make_batch, make_case_draft, make_endpoint, make_suite
from tests.servers_http import ModelServer
from tests.servers_http.scripted import Asked, Reply, ScriptedServer

RUBRIC = {"type": "llm-rubric", "value": "Is it polite?"}
SIMILAR = {"type": "similar", "value": "Paris is the capital."}


def said(text: str, *, usage: tuple[int, int] | None = (100, 10), pause_ms: float = 0) -> Reply:
    """Return a chat completion with that text."""
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
    body: dict[str, Any] = {"choices": [choice]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return Reply([(pause_ms, json.dumps(body).encode())])


def verdict(passed: bool = True, score: float = 1, reason: str = "It is.", **how: Any) -> Reply:
    return said(json.dumps({"reason": reason, "pass": passed, "score": score}), **how)


def vectors(*rows: Sequence[float], tokens: int = 1000) -> Reply:
    """Return embeddings, the last first: servers name their places."""
    data = [{"index": at, "embedding": list(row)} for at, row in enumerate(rows)]
    return Reply.json({"data": data[::-1], "usage": {"prompt_tokens": tokens}})


def asked_about(asked: Asked) -> dict[str, Any]:
    """Return what the judge was given as data."""
    about: dict[str, Any] = json.loads(asked.body["messages"][-1]["content"])
    return about


def make_judged(
    server: ModelServer,
    judge: ScriptedServer,
    cases: int | list[CaseDraft] = 1,
    *,
    assertions: Sequence[dict[str, Any]] = (RUBRIC,),
    judge_fields: dict[str, Any] | None = None,
    **config: Any,
) -> Batch:
    """Make a batch of the model server; "Judge" is a second endpoint of the project.

    The model costs 1 and 2 USD per million tokens, the judge 10 and 100.
    """
    actor = make_actor()
    endpoint = make_endpoint(
        actor,
        provider="openai",
        base_url=server.base_url,
        model="m",
        price_input=1,
        price_output=2,
    )
    fields = {"price_input": 10, "price_output": 100, **(judge_fields or {})}
    make_endpoint(
        actor, name="Judge", provider="openai", base_url=f"{judge.root}/v1", model="j", **fields
    )
    drafts = cases
    if isinstance(cases, int):
        drafts = [
            make_case_draft(number, assertions=list(assertions)) for number in range(1, cases + 1)
        ]
    return make_batch(
        actor,
        suite=make_suite(actor, cases=drafts),
        endpoint=endpoint,
        now=clock.database_now(),
        **{"judge_model_id": "Judge", **config},
    )


def only_job(batch: Batch) -> Job:
    return Job.objects.get(batch=batch)
