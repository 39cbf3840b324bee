"""One OTLP span to one of ours: what its attributes say, in the conventions' order. Pure."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from alerts import conventions, prices, traces
from alerts.trace_models import TraceStatus
from alerts.traces import Span

_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8
_STATUS_OK = 1
_STATUS_ERROR = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OUTSIDE = "A time to the first token lies outside of its span and was left out."
_LATEST_NS = 253_402_300_799 * 10**9
_LONGEST_NS = int(traces.LONGEST_MS) * 10**6


def flaw(raw: Any) -> str:
    """Return why the span cannot be kept, or an empty text."""
    return _flaw_of_ids(raw) or _flaw_of_times(raw)


def _flaw_of_ids(raw: Any) -> str:
    if len(raw.trace_id) != _TRACE_ID_BYTES or not any(raw.trace_id):
        return "A trace id is 16 bytes, not all of them 0."
    if len(raw.span_id) != _SPAN_ID_BYTES or not any(raw.span_id):
        return "A span id is 8 bytes, not all of them 0."
    return ""


def _flaw_of_times(raw: Any) -> str:
    if not raw.start_time_unix_nano:
        return "A span has no start."
    if not raw.end_time_unix_nano:
        return "A span has no end."
    if raw.end_time_unix_nano < raw.start_time_unix_nano:
        return "A span ended before it started."
    if raw.end_time_unix_nano > _LATEST_NS:
        return "A span ended after the year 9999."
    if raw.end_time_unix_nano - raw.start_time_unix_nano > _LONGEST_NS:
        return f"A span lasted longer than {traces.LONGEST_MS:,.0f} ms."
    return ""


def span(raw: Any, service: str, ended: datetime) -> tuple[Span, str]:
    """Return the span, and a sentence where something it says cannot be and was left out."""
    attributes = _attributes(raw, service)
    operation, named = conventions.operation_of(attributes, raw.name)
    model = conventions.text(attributes, conventions.MODEL)
    provider = conventions.text(attributes, conventions.PROVIDER)
    usage = _Usage()
    if conventions.is_model_call(operation, named, model):
        usage = _usage(attributes, provider, model, ended)
    latency_ms = (raw.end_time_unix_nano - raw.start_time_unix_nano) / 1e6
    ttft_ms = _ttft_ms(raw, attributes)
    within = ttft_ms is None or 0 <= ttft_ms <= latency_ms + 1
    failed = _failed(raw, attributes)
    made = Span(
        trace_id=raw.trace_id.hex(),
        span_id=raw.span_id.hex(),
        parent_span_id=raw.parent_span_id.hex(),
        span_name=raw.name,
        operation=operation,
        model=model,
        model_requested=conventions.text(attributes, conventions.MODEL_REQUESTED),
        provider=provider,
        status=TraceStatus.ERROR if failed else TraceStatus.SUCCESS,
        error_type=_error_type(raw, attributes) if failed else "",
        latency_ms=latency_ms,
        ttft_ms=ttft_ms if within else None,
        input_tokens=usage.input,
        cached_tokens=usage.cached,
        output_tokens=usage.output,
        total_tokens=usage.total,
        cost=usage.cost,
        cost_source=usage.cost_source,
        started_at=instant(raw.start_time_unix_nano),
        ended_at=ended,
        attributes=attributes,
    )
    return made, "" if within else _OUTSIDE


def _attributes(raw: Any, service: str) -> dict[str, Any]:
    attributes = {item.key: value_of(item.value) for item in raw.attributes}
    if service:
        attributes.setdefault("service.name", service)
    if raw.status.message:
        attributes.setdefault("otel.status_message", raw.status.message)
    return attributes


_PLAIN = frozenset({"string_value", "int_value", "double_value", "bool_value"})


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind in _PLAIN:
        return getattr(value, kind)
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: value_of(item.value) for item in value.kvlist_value.values}
    return base64.b64encode(value.bytes_value).decode() if kind == "bytes_value" else None


def instant(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _failed(raw: Any, attributes: Mapping[str, Any]) -> bool:
    code = raw.status.code
    named = bool(attributes.get(conventions.ERROR_TYPE))
    return bool(code == _STATUS_ERROR or (named and code != _STATUS_OK))


def _error_type(raw: Any, attributes: Mapping[str, Any]) -> str:
    given = attributes.get(conventions.ERROR_TYPE)
    if given:
        return str(given)
    for event in raw.events:
        for item in event.attributes:
            if item.key == "exception.type" and item.value.string_value:
                return str(item.value.string_value)
    return "_OTHER"


def _ttft_ms(raw: Any, attributes: Mapping[str, Any]) -> float | None:
    for name, factor in conventions.TTFT:
        if (given := _number(attributes.get(name))) is not None:
            return given * factor
    return _since_start(raw, attributes.get(conventions.COMPLETION_START))


def _since_start(raw: Any, given: Any) -> float | None:
    if not isinstance(given, str):
        return None
    try:
        first = datetime.fromisoformat(given.strip('"'))
        first = first if first.tzinfo else first.replace(tzinfo=UTC)
        return (first - instant(raw.start_time_unix_nano)) / timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class _Usage:
    input: int | None = None
    cached: int | None = None
    output: int | None = None
    total: int | None = None
    cost: Decimal | None = None
    cost_source: str = ""


def _usage(attributes: Mapping[str, Any], provider: str, model: str, ended: datetime) -> _Usage:
    tokens_in = _tokens(attributes, conventions.INPUT_TOKENS)
    tokens_out = _tokens(attributes, conventions.OUTPUT_TOKENS)
    cached = _tokens(attributes, conventions.CACHED_TOKENS)
    if cached is not None and tokens_in is not None:
        cached = min(cached, tokens_in)
    total = _tokens(attributes, conventions.TOTAL_TOKENS)
    if total is None and (tokens_in is not None or tokens_out is not None):
        total = (tokens_in or 0) + (tokens_out or 0)
    cost = _cost(conventions.first(attributes, conventions.COST))
    source = "" if cost is None else "reported"
    if cost is None and model and tokens_in is not None:
        cost = prices.priced(
            prices.listed(model, provider=provider.lower() or None, at=ended),
            input_tokens=tokens_in,
            output_tokens=tokens_out or 0,
            cached_tokens=cached or 0,
            written_tokens=_tokens(attributes, conventions.WRITTEN_TOKENS) or 0,
        ).cost
        cost = cost if cost is not None and traces.usable_cost(cost) else None
        source = "" if cost is None else "price_list"
    return _Usage(tokens_in, cached, tokens_out, total, cost, source)


def _tokens(attributes: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        number = _number(attributes.get(name))
        if number is not None and number == number // 1 and traces.usable_tokens(int(number)):
            return int(number)
    return None


def _number(value: Any) -> float | int | None:
    """Return a number; some instrumentations write theirs as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, int):
        return value
    # NaN and infinity are no numbers here.
    return value if isinstance(value, float) and abs(value) < 1e300 else None  # noqa: PLR2004


def _cost(value: Any) -> Decimal | None:
    if value is None or isinstance(value, bool | list | dict):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if traces.usable_cost(amount) else None
