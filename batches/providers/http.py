"""Any JSON endpoint: a template of the body to send, and a path to the answer in what comes back.

Templates hold names only and paths hold names and places only: nothing in either is run.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from access.egress import Session
from access.errors import Invalid
from access.strict_json import flaw
from batches.providers import answers, exchange, failures, parts
from batches.providers.base import Answer, Call, CallFailed, Embedded, Endpoint, ErrorClass
from batches.providers.text import clean
from batches.scoring import fields, templates

MAX_TEMPLATE_CHARACTERS = 20_000
MAX_TEMPLATE_DEPTH = 16
MAX_PATH_CHARACTERS = 200
# What a template may name besides the endpoint's parameters.
NAMES = ("prompt", "messages", "system", "model")
_ASKING = frozenset({"prompt", "messages"})

_WHOLE_TAG = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
# `choices[0].text`, `choices.0.text`, with or without `$.` before it.
_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)|\[(\d{1,4})\]")
_PATH = re.compile(r"(?:[^.\[\]]+|\[\d{1,4}\])(?:\.[^.\[\]]+|\[\d{1,4}\])*")


@dataclass(frozen=True)
class Http:
    """The provider `http`."""

    async def complete(self, session: Session, endpoint: Endpoint, call: Call) -> Answer:
        """Make one attempt. Raises CallFailed as `Provider.complete`."""
        body, host, took_ms = await exchange.ask_whole(
            session,
            endpoint.base_url,
            answers.code_of,
            json=payload(endpoint, call),
            headers=exchange.bearer(endpoint),
            timeout_s=call.timeout_s,
        )
        return _answer(body, host, took_ms, endpoint.answer_path)

    async def embed(
        self, session: Session, endpoint: Endpoint, texts: Sequence[str], timeout_s: float
    ) -> Embedded:
        raise failures.no_embeddings("http")


def payload(endpoint: Endpoint, call: Call) -> object:
    """Return the request's body: the template with its names filled in.

    A text that is one tag and nothing else becomes the value itself, so `"{{ messages }}"` is a
    list and `"{{ temperature }}"` a number.

    Raises:
        CallFailed: it names a parameter that nobody gives.
    """
    turns = [dict(turn) for turn in call.messages]
    said = {role: [t["content"] for t in turns if t["role"] == role] for role in ("user", "system")}
    values = {
        **endpoint.parameters,
        **call.parameters,
        "model": endpoint.model,
        "messages": turns,
        "system": "\n\n".join(said["system"]),
        "prompt": said["user"][-1] if said["user"] else "",
    }
    try:
        return _filled(endpoint.request_template, values)
    except Invalid as refusal:
        raise CallFailed(ErrorClass.REJECTED, f"The request template: {refusal.message}") from None


def check_template(template: object, parameters: Mapping[str, Any]) -> None:
    """Refuse a template that asks nothing or names what is not there.

    Raises:
        Invalid: with a sentence.
    """
    if not isinstance(template, dict):
        raise Invalid(
            'Give the JSON object to send, like {"question": "{{ prompt }}"}. '
            f"It may name {', '.join(NAMES)} and the endpoint's parameters."
        )
    complaint = flaw(template, max_depth=MAX_TEMPLATE_DEPTH)
    if complaint:
        raise Invalid(complaint)
    if fields.characters(template) > MAX_TEMPLATE_CHARACTERS:
        raise Invalid(f"This is longer than {MAX_TEMPLATE_CHARACTERS:,} characters.")
    _filled(template, {**dict.fromkeys(NAMES, ""), **parameters})
    named = {name for text in _texts(template) for name in _WHOLE_TAG.findall(text)}
    if not named & _ASKING:
        raise Invalid("Without {{ prompt }} or {{ messages }} every question would be the same.")


def check_path(path: str) -> None:
    """Refuse what is no path. An empty one is the whole body.

    Raises:
        Invalid: with a sentence.
    """
    plain = _plain(path)
    if plain and not _PATH.fullmatch(plain):
        raise Invalid("This is no path. Write names and places, like choices[0].message.content.")


def _filled(template: object, values: Mapping[str, Any]) -> object:
    if isinstance(template, list):
        return [_filled(item, values) for item in template]
    if isinstance(template, dict):
        return {key: _filled(item, values) for key, item in template.items()}
    if not isinstance(template, str):
        return template
    alone = _WHOLE_TAG.fullmatch(template)
    if alone and alone[1] in values:
        return values[alone[1]]
    return templates.fill(template, {name: _as_text(value) for name, value in values.items()})


def _texts(template: object) -> Iterator[str]:
    """Yield the texts that are filled: values, not keys."""
    if isinstance(template, str):
        yield template
    elif isinstance(template, list | dict):
        for item in template.values() if isinstance(template, dict) else template:
            yield from _texts(item)


def _as_text(value: object) -> templates.Scalar:
    """Return a value as it stands within a longer text: objects and lists as JSON."""
    return value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)


def _answer(body: bytes, host: str, took_ms: float, path: str) -> Answer:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        if _plain(path) or not body.strip() or body.lstrip().startswith(b"<"):
            raise failures.no_answer(host, "it is not JSON") from None
        parsed = body.decode("utf-8", "replace")
    found = _at(parsed, path)
    if found is None:
        what = f"there is nothing at {path}" if _plain(path) else "it is null"
        raise CallFailed(
            ErrorClass.INFRA, f"{host} gave no answer: {what}; check the endpoint's answer_path"
        )
    usage = parsed.get("usage") if isinstance(parsed, dict) else None
    counts = usage if isinstance(usage, dict) else {}
    return Answer(
        output=clean(templates.as_text(_as_text(found))),
        ttft_ms=None,
        latency_ms=took_ms,
        input_tokens=parts.count(counts.get("prompt_tokens", counts.get("input_tokens"))),
        output_tokens=parts.count(counts.get("completion_tokens", counts.get("output_tokens"))),
    )


def _at(value: Any, path: str) -> Any:
    """Return what stands at `path`, None where there is nothing."""
    for step in _STEP.finditer(_plain(path)):
        place = step[1] if step[1] is not None else step[2]
        if isinstance(value, dict) and step[1] is not None:
            value = value.get(place)
        elif isinstance(value, list) and place.isdecimal() and int(place) < len(value):
            value = value[int(place)]
        else:
            return None
    return value


def _plain(path: str) -> str:
    return path.strip().removeprefix("$").removeprefix(".")
