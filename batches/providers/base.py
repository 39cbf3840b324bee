"""What every provider has in common: an endpoint, a call, an answer, and how a call fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from access.egress import Session


class ErrorClass(StrEnum):
    """What an attempt without a scored answer means for the figures.

    `infra` and `rejected` are counted apart and leave the score alone; `timeout` and `refused` are
    the model's own doing and score 0.
    """

    INFRA = "infra"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    REFUSED = "refused"


@dataclass(frozen=True)
class Endpoint:
    """Where a model is reached. `base_url` is the API's root, like `https://api.example/v1`.

    `request_template` and `answer_path` are the provider http's: the body to send, and where in
    the one that comes back the answer stands.
    """

    provider: str
    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    request_template: object = None
    answer_path: str = ""


@dataclass(frozen=True)
class Call:
    """One question. `parameters` win over the endpoint's; a None takes a parameter out.

    `schema` is a JSON Schema that the answer should follow, where the dialect can ask for that.
    """

    messages: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 60.0
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said. The output holds no NUL and no lone surrogate.

    `ttft_ms` is the time to the first *content* token, None where the answer came in one piece;
    `latency_ms` reaches to the last content byte. Both are from the request's start, on a
    monotonic clock. Token counts are None where the server gave none; those that a cache gave or
    took are among the input's.
    """

    output: str
    ttft_ms: float | None
    latency_ms: float
    input_tokens: int | None = None
    cached_tokens: int | None = None
    written_tokens: int | None = None
    output_tokens: int | None = None
    model: str = ""
    finish_reason: str = ""


@dataclass(frozen=True)
class Embedded:
    """One vector for each text, all equally long. The tokens are None where nobody counted."""

    vectors: tuple[tuple[float, ...], ...]
    input_tokens: int | None = None


class CallFailed(Exception):
    """A call without an answer, with a sentence that says what to do.

    `status` is the HTTP status where there was one; `retry_after_s` is what the server asked for.
    `unconnected` says that there was no connection, so nothing was sent.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        sentence: str,
        *,
        retryable: bool = False,
        retry_after_s: float | None = None,
        status: int | None = None,
        unconnected: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.error_class = error_class
        self.sentence = sentence
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.status = status
        self.unconnected = unconnected


class Provider(Protocol):
    """One dialect. Stateless: everything it needs comes with the call."""

    async def complete(self, session: Session, endpoint: Endpoint, call: Call) -> Answer:
        """Make one attempt.

        Raises:
            CallFailed: no answer; `retryable` says whether another attempt may help.
        """
        ...

    async def embed(
        self, session: Session, endpoint: Endpoint, texts: Sequence[str], timeout_s: float
    ) -> Embedded:
        """Make one attempt to turn texts into vectors.

        Raises:
            CallFailed: as `complete`, and where the dialect has no embeddings.
        """
        ...
