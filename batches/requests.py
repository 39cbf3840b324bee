"""Batches of one call that asks no suite: its messages and options, kept encrypted in the batch."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from access.secrets import Secret
from batches import batches, cases
from batches.batches import Config
from batches.cases import Message
from batches.models import Batch, Job, ModelEndpoint
from batches.scoring.complaints import Complaints, joined

_KEY = "request"


@dataclass(frozen=True)
class Request:
    """What is asked, word for word: braces in it are text. `options` go along with the call."""

    messages: tuple[Message, ...] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse(raw: Mapping[str, Any], *, path: str = "") -> Request:
    """Return the request that `raw` spells: a `prompt` or `messages`, and beside them options.

    Raises:
        Invalid: its details name the bad fields, with `path` before their names.
    """
    complaints = Complaints()
    prompt, messages = raw.get("prompt"), raw.get("messages")
    turns: list[Message] = []
    if (prompt is None) == (messages is None):
        sentence = "Give either a prompt or messages, and not both."
        complaints.add(joined(path, "prompt"), sentence)
    else:
        with complaints.about(joined(path, "messages" if prompt is None else "prompt")):
            turns = cases.turns(prompt, messages)
    complaints.refuse_any()
    options = {name: value for name, value in raw.items() if name not in {"prompt", "messages"}}
    return Request(tuple(turns), options)


def create(
    *,
    user_id: uuid.UUID,
    endpoint: ModelEndpoint,
    request: Request,
    config: Config,
    now: datetime,
    deadline_at: datetime,
) -> Batch:
    """Make the batch with its one job, and wake a worker for it."""
    text = json.dumps({"messages": request.messages, "options": request.options})
    with transaction.atomic():
        batch = batches.prepare(
            user_id=user_id,
            endpoint=endpoint,
            config=config,
            deadline_at=deadline_at,
            request=Secret.hide(text),
            total=1,
        )
        Job(project_id=batch.project_id, batch=batch, case_key=_KEY, ordinal=0).save(
            force_insert=True
        )
        batches.wake(batch, now)
    return batch


def of_batch(batch: Batch) -> Request | None:
    """Return what the batch asks where it asks no suite and no documents, else None.

    Raises:
        UnreadableSecret: its key is gone.
    """
    if not isinstance(batch.request, Secret):
        return None
    stored = json.loads(batch.request.reveal())
    return Request(tuple(stored["messages"]), stored["options"])
