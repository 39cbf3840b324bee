"""Which attributes of a span say what, over the conventions that instrumentations follow.

One table: for each of our fields the attributes in the order in which they are believed. Raw
attributes are kept beside, so a field that is missing here is not lost.
Sources: OpenTelemetry's GenAI conventions (development; 2026-10), OpenInference (2026-08-21),
OpenLLMetry's semconv_ai 0.5.2, and what vLLM, Sentry, Vercel and Langfuse send.
"""

from collections.abc import Mapping
from typing import Any

# Counted up when a row of the table changes, so that one can tell what old rows were read with.
VERSION = 2

OPERATION = ("gen_ai.operation.name", "openinference.span.kind", "llm.request.type")
WORKFLOW_KIND = "traceloop.span.kind"
MODEL = (
    "gen_ai.response.model",
    "llm.response.model_name",
    "gen_ai.request.model",
    "llm.request.model_name",
    "llm.model_name",
    "embedding.model_name",
    "ai.model.id",
    "langfuse.observation.model.name",
)
MODEL_REQUESTED = ("gen_ai.request.model", "llm.request.model_name")
PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
# (attribute, what it is multiplied with to be milliseconds)
TTFT = (
    ("gen_ai.response.time_to_first_chunk", 1000.0),
    ("gen_ai.response.time_to_first_token", 1000.0),
    ("gen_ai.latency.time_to_first_token", 1000.0),
    ("ai.response.msToFirstChunk", 1.0),
    ("ai.stream.msToFirstChunk", 1.0),
)
# An instant, as ISO 8601.
COMPLETION_START = "langfuse.observation.completion_start_time"
ERROR_TYPE = "error.type"
INPUT_TOKENS = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
)
OUTPUT_TOKENS = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
)
CACHED_TOKENS = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
WRITTEN_TOKENS = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_write_input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
TOTAL_TOKENS = (
    "gen_ai.usage.total_tokens",
    "llm.usage.total_tokens",
    "llm.token_count.total",
)
COST = ("gen_ai.usage.cost", "llm.cost.total", "langfuse.observation.cost_details.total")

# OpenInference's kinds in the words of OpenTelemetry; others are only put into lower case.
_KINDS = {
    "llm": "chat",
    "embedding": "embeddings",
    "tool": "execute_tool",
    "agent": "invoke_agent",
    "retriever": "retrieval",
}
# Of the other conventions: OpenLLMetry says it so, and OpenTelemetry otherwise.
_SPELLINGS = {"embedding": "embeddings"}
# Each stands for one call of a model. All others repeat what their children have used.
MODEL_CALLS = frozenset(
    {"chat", "completion", "text_completion", "generate_content", "embeddings", "rerank"}
)

# Names and kinds, never what people or models have said: kept even where content is not.
NAMES = frozenset(
    {
        *OPERATION,
        WORKFLOW_KIND,
        *MODEL,
        *PROVIDER,
        COMPLETION_START,
        ERROR_TYPE,
        "gen_ai.agent.name",
        "gen_ai.tool.name",
        "gen_ai.response.id",
        "gen_ai.conversation.id",
        "session.id",
        "server.address",
        "service.name",
        "traceloop.workflow.name",
    }
)


def operation_of(attributes: Mapping[str, Any], span_name: str) -> tuple[str, bool]:
    """Return the operation, and whether a convention named it; else it is the span's name."""
    for name in (*OPERATION, WORKFLOW_KIND):
        value = attributes.get(name)
        if isinstance(value, str) and value:
            kind = value.lower()
            kinds = _KINDS if name == "openinference.span.kind" else _SPELLINGS
            return kinds.get(kind, kind), True
    return span_name.lower(), False


def is_model_call(operation: str, named: bool, model: str) -> bool:
    """Whether tokens and cost of this span count.

    A span whose operation no convention names counts where it names a model.
    """
    return operation in MODEL_CALLS if named else bool(model)


def text(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the first of the attributes that is a text, or an empty one."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first of the attributes that is there, or None."""
    for name in names:
        if (value := attributes.get(name)) is not None:
            return value
    return None
