"""Spans as programs report them over the REST API: plain objects, one by one."""

import math
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from access.errors import Invalid
from alerts import traces
from alerts.trace_models import TraceStatus
from alerts.traces import LONGEST_MS, Span

_LONGEST_ID = 64
_LONGEST = timedelta(milliseconds=LONGEST_MS)


def span(raw: object, *, now: datetime) -> Span:
    """Return the span that a report describes; what it does not say is filled in.

    Without times it ended now; `operation` is the name where it is left out; keys that are not
    known go to `attributes`.

    Raises:
        Invalid: the fields are named in its details.
    """
    if not isinstance(raw, dict):
        raise Invalid("A trace is a JSON object.")
    reader = _Reader(raw)
    latency, started, ended = _times(reader, now)
    found = _filled(reader, latency, started, ended)
    if reader.complaints:
        raise Invalid(_sentence(reader.complaints), reader.complaints)
    return found


def _times(reader: "_Reader", now: datetime) -> tuple[float, datetime, datetime]:
    """Return latency, start and end; what was not reported follows from the rest."""
    latency = reader.number("latency_ms")
    started, ended = reader.instant("started_at"), reader.instant("ended_at")
    if latency is None and started and ended and started <= ended:
        latency = (ended - started) / timedelta(milliseconds=1)
    if latency is None and "latency_ms" not in reader.complaints:
        reader.complain("latency_ms", "This field is required, unless both times are given.")
    if started and ended and ended < started:
        reader.complain("ended_at", "This lies before started_at.")
    if started and ended and ended - started > _LONGEST:
        reader.complain("started_at", f"This lies more than {LONGEST_MS:,.0f} ms before ended_at.")
    length = timedelta(milliseconds=latency or 0)
    try:
        ended = ended or (started + length if started else now)
        started = started or ended - length
    except OverflowError:
        reader.complain("started_at" if started else "ended_at", "This is out of range.")
        return 0.0, now, now
    first, beyond = traces.span_of_days(now)
    if not first <= ended < beyond:
        last = beyond - timedelta(days=1)
        reader.complain("ended_at", f"Spans are taken from {first:%Y-%m-%d} to {last:%Y-%m-%d}.")
    return latency or 0.0, started, ended


def _filled(reader: "_Reader", latency: float, started: datetime, ended: datetime) -> Span:
    name = reader.text("span_name", required=True)
    tokens_in, tokens_out = reader.tokens("input_tokens"), reader.tokens("output_tokens")
    total = reader.tokens("total_tokens")
    if total is None and (tokens_in is not None or tokens_out is not None):
        total = (tokens_in or 0) + (tokens_out or 0)
    cost = reader.cost()
    return Span(
        trace_id=reader.identifier("trace_id") or secrets.token_hex(16),
        span_id=reader.identifier("span_id") or secrets.token_hex(8),
        parent_span_id=reader.identifier("parent_span_id"),
        span_name=name,
        operation=reader.text("operation") or name,
        model=reader.text("model"),
        model_requested="",
        provider=reader.text("provider"),
        status=reader.status(),
        error_type=reader.text("error_type"),
        latency_ms=latency,
        ttft_ms=reader.number("ttft_ms"),
        input_tokens=tokens_in,
        cached_tokens=reader.tokens("cached_tokens"),
        output_tokens=tokens_out,
        total_tokens=total,
        cost=cost,
        cost_source="" if cost is None else "reported",
        started_at=started,
        ended_at=ended,
        attributes=reader.attributes(),
    )


class _Reader:
    """Reads the fields of a report, and collects what is wrong with them."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._read: set[str] = {"attributes", "status"}
        self.complaints: dict[str, list[str]] = {}

    def complain(self, name: str, sentence: str) -> None:
        self.complaints.setdefault(name, []).append(sentence)

    def _get(self, name: str) -> Any:
        self._read.add(name)
        return self._raw.get(name)

    def text(self, name: str, *, required: bool = False) -> str:
        value = self._get(name)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or (required and not value):
            self.complain(name, "This field is required." if value is None else "This is a text.")
            return ""
        return value

    def identifier(self, name: str) -> str:
        value = self.text(name)
        if len(value) > _LONGEST_ID or not (value.isascii() and value.isprintable()):
            self.complain(name, f"At most {_LONGEST_ID} printable ASCII characters.")
            return ""
        return value

    def status(self) -> TraceStatus:
        value = self._raw.get("status")
        if value in ("success", "error"):
            return TraceStatus(value)
        self.complain("status", "This is success or error.")
        return TraceStatus.SUCCESS

    def number(self, name: str) -> float | None:
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.complain(name, "This is a number of milliseconds.")
        elif not 0 <= value <= LONGEST_MS or math.isnan(value):
            self.complain(name, f"This lies between 0 and {LONGEST_MS:,.0f}.")
        else:
            return float(value)
        return None

    def tokens(self, name: str) -> int | None:
        value = self._get(name)
        if value is None:
            return None
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not traces.usable_tokens(int(value)):
            self.complain(name, "This is a number of tokens, 0 or more.")
            return None
        return int(value)

    def cost(self) -> Decimal | None:
        value = self._get("cost")
        if value is None:
            return None
        try:
            amount = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
        except InvalidOperation:
            amount = Decimal("NaN")
        if traces.usable_cost(amount):
            return amount
        self.complain("cost", "This is an amount in USD, 0 or more.")
        return None

    def instant(self, name: str) -> datetime | None:
        value = self._get(name)
        if value is None:
            return None
        try:
            found = _parsed(value)
        except (TypeError, ValueError, OverflowError):
            self.complain(name, "This is a time like 2025-01-15T10:00:00Z.")
            return None
        return found

    def attributes(self) -> dict[str, Any]:
        given = self._raw.get("attributes")
        if given is not None and not isinstance(given, dict):
            self.complain("attributes", "This is an object.")
            given = None
        beside = {name: value for name, value in self._raw.items() if name not in self._read}
        return {**(given or {}), **beside}


def _parsed(value: Any) -> datetime:
    instant = datetime.fromisoformat(value)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _sentence(complaints: Mapping[str, list[str]]) -> str:
    name, sentences = next(iter(complaints.items()))
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return f"{name}: {sentences[0]}{more}"
