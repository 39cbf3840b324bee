"""Any server that speaks OpenAI's chat completions, streaming or not, and its embeddings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from access.egress import Session
from batches.providers import answers, exchange, failures, parts
from batches.providers.answers import StreamedAnswer
from batches.providers.base import Answer, Call, Embedded, Endpoint
from batches.providers.exchange import Dialect

_COMPLETIONS = "/chat/completions"
_EMBEDDINGS = "/embeddings"
_DIALECT = Dialect(answers.whole, StreamedAnswer, answers.code_of)


@dataclass(frozen=True)
class OpenAI:
    """The provider `openai`."""

    async def complete(self, session: Session, endpoint: Endpoint, call: Call) -> Answer:
        """Make one attempt. Raises CallFailed as `Provider.complete`."""
        return await exchange.ask(
            session,
            completions_url(endpoint.base_url),
            _DIALECT,
            json=payload(endpoint, call),
            headers=exchange.bearer(endpoint),
            timeout_s=call.timeout_s,
        )

    async def embed(
        self, session: Session, endpoint: Endpoint, texts: Sequence[str], timeout_s: float
    ) -> Embedded:
        """Make one attempt. Raises CallFailed as `Provider.embed`."""
        body, host, _ = await exchange.ask_whole(
            session,
            embeddings_url(endpoint.base_url),
            answers.code_of,
            json={**endpoint.parameters, "model": endpoint.model, "input": list(texts)},
            headers=exchange.bearer(endpoint),
            timeout_s=timeout_s,
        )
        return _embedded(body, host, len(texts))


def completions_url(base_url: str) -> str:
    """Return the address to post to. A query (some gateways want a version there) is kept."""
    return _below(base_url, _COMPLETIONS)


def embeddings_url(base_url: str) -> str:
    """Return the address to post texts to, also where `base_url` names the completions."""
    parts_ = urlsplit(base_url)
    root = parts_._replace(path=parts_.path.rstrip("/").removesuffix(_COMPLETIONS))
    return _below(urlunsplit(root), _EMBEDDINGS)


def payload(endpoint: Endpoint, call: Call) -> dict[str, Any]:
    """Return the request's body. Parameters cannot replace the model or the messages.

    `stream: false` among the parameters asks for one piece, for servers that cannot stream.
    """
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        **endpoint.parameters,
        **call.parameters,
        "model": endpoint.model,
        "messages": list(call.messages),
    }
    if call.schema is not None:
        schema = {"name": "answer", "strict": True, "schema": call.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if not body["stream"]:
        body["stream_options"] = None
    return exchange.without_none(body)


def _below(base_url: str, path: str) -> str:
    parts_ = urlsplit(base_url)
    whole = parts_.path.rstrip("/")
    if not whole.endswith(path):
        whole += path
    return urlunsplit((parts_.scheme, parts_.netloc, whole, parts_.query, ""))


def _embedded(body: bytes, host: str, wanted: int) -> Embedded:
    """Return the vectors in the order of their texts.

    Raises:
        CallFailed: they are not one vector of numbers for each text, all equally long.
    """
    parsed = parts.json_object(body)
    rows = parsed.get("data") if parsed else None
    vectors: dict[object, tuple[float, ...] | None] = {}
    for at, row in enumerate(rows if isinstance(rows, list) else []):
        if isinstance(row, dict):
            vectors[row.get("index", at)] = _vector(row.get("embedding"))
    ordered = [vectors.get(at) for at in range(wanted)]
    found = tuple(vector for vector in ordered if vector)
    if parsed is None or len(found) != wanted or len({len(vector) for vector in found}) != 1:
        raise failures.no_answer(host, "it holds no embeddings")
    usage = parsed.get("usage")
    tokens = parts.count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    return Embedded(found, tokens)


def _vector(value: object) -> tuple[float, ...] | None:
    if not isinstance(value, list):
        return None
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float):
            return None
        if not math.isfinite(number):
            return None
    return tuple(map(float, value))
