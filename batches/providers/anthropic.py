"""Anthropic's messages, streaming or not.

Source: the Messages API's reference, version 2023-06-01: streaming, stop reasons, errors,
structured outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from access.egress import Session
from batches.providers import anthropic_answers, exchange, failures
from batches.providers.anthropic_answers import StreamedMessage
from batches.providers.base import Answer, Call, Embedded, Endpoint
from batches.providers.exchange import Dialect

DEFAULT_BASE_URL = "https://api.anthropic.com/v1"
_VERSION = "2023-06-01"
_PATH = "/messages"
_ROOT = "/v1"
# The dialect demands a limit; this is what answers need that nobody limited.
_MAX_TOKENS = 4096
_DIALECT = Dialect(anthropic_answers.whole, StreamedMessage, anthropic_answers.code_of)


@dataclass(frozen=True)
class Anthropic:
    """The provider `anthropic`."""

    async def complete(self, session: Session, endpoint: Endpoint, call: Call) -> Answer:
        """Make one attempt. Raises CallFailed as `Provider.complete`."""
        return await exchange.ask(
            session,
            messages_url(endpoint.base_url),
            _DIALECT,
            json=payload(endpoint, call),
            headers=_headers(endpoint),
            timeout_s=call.timeout_s,
        )

    async def embed(
        self, session: Session, endpoint: Endpoint, texts: Sequence[str], timeout_s: float
    ) -> Embedded:
        raise failures.no_embeddings("anthropic")


def messages_url(base_url: str) -> str:
    """Return the address to post to; the root may be given with or without its version."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path = path.removesuffix(_ROOT) + _ROOT + _PATH
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def payload(endpoint: Endpoint, call: Call) -> dict[str, Any]:
    """Return the request's body. Parameters cannot replace the model or the messages.

    Messages of the system are not among the others here but in a field of their own.
    """
    body: dict[str, Any] = {
        "stream": True,
        "max_tokens": _MAX_TOKENS,
        **endpoint.parameters,
        **call.parameters,
        "model": endpoint.model,
        "messages": [turn for turn in call.messages if turn["role"] != "system"],
    }
    system = _system(call.messages)
    if system:
        body["system"] = system
    if body["max_tokens"] is None:
        body["max_tokens"] = _MAX_TOKENS
    if call.schema is not None:
        wanted = {"type": "json_schema", "schema": call.schema}
        body["output_config"] = {**(body.get("output_config") or {}), "format": wanted}
    return exchange.without_none(body)


def _system(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n\n".join(turn["content"] for turn in messages if turn["role"] == "system")


def _headers(endpoint: Endpoint) -> dict[str, str]:
    headers = {
        "Accept": "text/event-stream, application/json",
        "anthropic-version": _VERSION,
    }
    if endpoint.api_key:
        headers["x-api-key"] = endpoint.api_key.strip()
    # Last, so that a gateway with another scheme or a beta can have its own header.
    return {**headers, **endpoint.headers}
