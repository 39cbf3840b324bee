"""OTLP/HTTP: requests to spans, and answers to bytes. Pure: knows neither HTTP nor the database.

Source: OTLP 1.x, "OTLP/HTTP" and "Failures"; what attributes mean stands in `conventions`.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from alerts import otlp_spans, traces
from alerts.traces import Span

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

# An answer must stay under 4 MiB with its text; nobody reads more than this.
_LONGEST_MESSAGE = 1000
# Bytes at a time, of compressed data and of what it holds.
_PIECE = 64 * 1024
_INFLATED = 1024 * 1024
# Of a gzip file; each costs some microseconds, however little it holds.
_MOST_MEMBERS = 1_000


class Undecodable(Exception):
    """The body is not what its content type says. Sending it again would not help."""


class Oversized(Exception):
    """The body is larger than is taken, as sent or once decompressed. Send less at a time."""


@dataclass
class Decoded:
    """The spans that can be kept, why the others cannot, and what was left out of those kept."""

    spans: list[Span] = field(default_factory=list)
    rejected: int = 0
    # Sentences, and how many spans each is about.
    reasons: dict[str, int] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        self.rejected += 1
        self.remark(reason)

    def remark(self, reason: str) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


def decompress(data: bytes, limit: int) -> bytes:
    """Return what gzip'd `data` holds, of at most `limit` bytes; it may have several members.

    Raises:
        Undecodable: it is not gzip, or its end is missing.
        Oversized: it holds more.
    """
    # Of an honest bomb the end says the length: that nothing of it is kept leaves the memory flat.
    kept = int.from_bytes(data[-4:], "little") <= limit
    # 31: gzip with its header, and nothing else.
    inflating, members = zlib.decompressobj(31), 1
    texts, left = [], limit
    # In pieces, as what lies behind the part that was inflated is copied each time.
    for start in range(0, len(data), _PIECE):
        rest = data[start : start + _PIECE]
        while rest:
            if inflating.eof:
                inflating, members = zlib.decompressobj(31), members + 1
            text = _inflated(inflating, rest, min(left + 1, _INFLATED))
            left -= len(text)
            if left < 0:
                raise Oversized
            if members > _MOST_MEMBERS:
                raise Undecodable(f"The body is more than {_MOST_MEMBERS:,} gzip streams.")
            if kept:
                texts.append(text)
            rest = inflating.unused_data or inflating.unconsumed_tail
    if not inflating.eof:
        raise Undecodable("The body is not one whole gzip stream, or several.")
    return b"".join(texts)


def _inflated(inflating: "zlib._Decompress", data: bytes, most: int) -> bytes:
    try:
        return inflating.decompress(data, most)
    except zlib.error as error:
        raise Undecodable(f"The body is not gzip: {error}.") from None


def decode(body: bytes, content_type: str, *, now: datetime) -> Decoded:
    """Return the spans of an ExportTraceServiceRequest in protobuf or JSON.

    Raises:
        Undecodable: with a sentence.
        TooLarge: they are too many.
    """
    request = _of_json(body) if content_type == JSON else _of_protobuf(body)
    traces.refuse_many(
        sum(
            len(scope_spans.spans)
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
        )
    )
    decoded = Decoded()
    bounds = traces.span_of_days(now)
    for resource_spans in request.resource_spans:
        service = _service(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for raw in scope_spans.spans:
                _take(raw, service, bounds, decoded)
    return decoded


def answer(content_type: str, decoded: Decoded) -> bytes:
    """Return the body of a 200: empty where all spans were taken as they were.

    None rejected and a message beside is a warning.
    """
    response = ExportTraceServiceResponse()
    if decoded.reasons:
        reasons = sorted(decoded.reasons.items(), key=lambda item: -item[1])
        text = " ".join(f"{reason} ({count})" for reason, count in reasons)
        response.partial_success.CopyFrom(
            ExportTracePartialSuccess(
                rejected_spans=decoded.rejected, error_message=text[:_LONGEST_MESSAGE]
            )
        )
    if content_type == JSON:
        return json_format.MessageToJson(response, indent=None).encode()
    return response.SerializeToString()


def failure(content_type: str, code: int, message: str) -> bytes:
    """Return a google.rpc.Status: field 1 is the code, field 2 the message."""
    message = message[:_LONGEST_MESSAGE]
    if content_type == JSON:
        return json.dumps({"code": code, "message": message}).encode()
    text = message.encode()
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004  seven bits at a time
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _of_protobuf(body: bytes) -> Any:
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise Undecodable("The body is no ExportTraceServiceRequest in protobuf.") from None


def _of_json(body: bytes) -> Any:
    try:
        raw = json.loads(body)
        for span in _spans_of_json(raw):
            # The library would take hexadecimal for base64 and make other bytes of it, silently.
            for message in [span, *_dicts(span.get("links"))]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if message.get(name):
                        message[name] = _base64_of_hex(message[name])
        return json_format.ParseDict(raw, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ValueError, json_format.ParseError, RecursionError, AttributeError) as error:
        sentence = f"The body is no ExportTraceServiceRequest in JSON: {error}"
        raise Undecodable(sentence[:300]) from None


def _spans_of_json(raw: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(raw, dict):
        raise Undecodable("The body is a JSON object with resourceSpans.")
    for resource_spans in _dicts(raw.get("resourceSpans")):
        for scope_spans in _dicts(resource_spans.get("scopeSpans")):
            yield from _dicts(scope_spans.get("spans"))


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list; what else is there the parser complains of."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _base64_of_hex(text: Any) -> str:
    """Return the bytes as base64; none where it is no hexadecimal: then its span is rejected."""
    try:
        return base64.b64encode(bytes.fromhex(text)).decode()
    except (TypeError, ValueError):
        return ""


def _service(attributes: Iterable[Any]) -> str:
    for attribute in attributes:
        if attribute.key == "service.name":
            return str(attribute.value.string_value)
    return ""


def _take(raw: Any, service: str, bounds: tuple[datetime, datetime], decoded: Decoded) -> None:
    reason = otlp_spans.flaw(raw)
    if reason:
        decoded.reject(reason)
        return
    ended = otlp_spans.instant(raw.end_time_unix_nano)
    if not bounds[0] <= ended < bounds[1]:
        last = bounds[1] - timedelta(days=1)
        decoded.reject(f"A span ended before {bounds[0]:%Y-%m-%d} or after {last:%Y-%m-%d}.")
        return
    span, left_out = otlp_spans.span(raw, service, ended)
    decoded.spans.append(span)
    if left_out:
        decoded.remark(left_out)
