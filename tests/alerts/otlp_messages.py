"""OTLP requests made by hand, in both encodings and from the same description."""

import json
from datetime import datetime
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.factories import NOW


def nanoseconds(instant: datetime) -> int:
    return int(instant.timestamp()) * 10**9 + instant.microsecond * 1000


def span(number: int = 1, *, ended_at: datetime = NOW, latency_ms: int = 100, **fields: Any) -> Any:
    """Describe a span: fields of OTLP in snake_case, ids as bytes, attributes as a dict."""
    end = nanoseconds(ended_at)
    wanted = {
        "trace_id": number.to_bytes(16),
        "span_id": number.to_bytes(8),
        "name": "chat demo",
        "start_time_unix_nano": end - latency_ms * 10**6,
        "end_time_unix_nano": end,
        "attributes": {},
        "status": {},
    }
    return wanted | fields


def protobuf(*spans: Any, service: str = "") -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    if service:
        resource.resource.attributes.append(
            KeyValue(key="service.name", value=AnyValue(string_value=service))
        )
    scope = resource.scope_spans.add()
    for described in spans:
        made = scope.spans.add()
        for name in ("trace_id", "span_id", "parent_span_id", "name"):
            setattr(made, name, described.get(name, "" if name == "name" else b""))
        made.start_time_unix_nano = described["start_time_unix_nano"]
        made.end_time_unix_nano = described["end_time_unix_nano"]
        made.status.code = described["status"].get("code", 0)
        made.status.message = described["status"].get("message", "")
        for name, value in described["attributes"].items():
            made.attributes.append(KeyValue(key=name, value=_value(value)))
        for event in described.get("events", []):
            added = made.events.add(name="exception")
            for name, value in event.items():
                added.attributes.append(KeyValue(key=name, value=_value(value)))
    return request.SerializeToString()


def as_json(*spans: Any, service: str = "", **beside: Any) -> bytes:
    """The same in JSON, with integers as text for every second one: both are allowed."""
    made = [_span_as_json(described, number) for number, described in enumerate(spans)]
    resource = (
        {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
        if service
        else {}
    )
    scope = {"scope": {"name": "by hand"}, "spans": made}
    return json.dumps(
        {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]} | beside
    ).encode()


def _span_as_json(described: Any, number: int) -> dict[str, Any]:
    def whole(value: int) -> int | str:
        return value if number % 2 else str(value)

    ids = {
        name: described.get(key, b"").hex().upper() if number % 2 else described.get(key, b"").hex()
        for name, key in (
            ("traceId", "trace_id"),
            ("spanId", "span_id"),
            ("parentSpanId", "parent_span_id"),
        )
    }
    return {
        **ids,
        "name": described["name"],
        "kind": 3,
        "startTimeUnixNano": whole(described["start_time_unix_nano"]),
        "endTimeUnixNano": whole(described["end_time_unix_nano"]),
        "status": described["status"],
        "attributes": [
            {"key": name, "value": _json_value(value, whole)}
            for name, value in described["attributes"].items()
        ],
        "events": [
            {
                "name": "exception",
                "attributes": [
                    {"key": name, "value": _json_value(value, whole)}
                    for name, value in event.items()
                ],
            }
            for event in described.get("events", [])
        ],
        "links": [{"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708"}],
        "somethingNew": {"is": "ignored"},
    }


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        made = AnyValue()
        made.array_value.values.extend(_value(item) for item in value)
        return made
    return AnyValue(string_value=value)


def _json_value(value: Any, whole: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": whole(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_json_value(item, whole) for item in value]}}
    return {"stringValue": value}
