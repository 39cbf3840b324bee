"""How a request's body becomes data: strict JSON, bounded before it is read."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import APIException
from rest_framework.parsers import BaseParser

from access import strict_json


class PayloadTooLarge(APIException):
    status_code = 413
    default_code = "payload_too_large"


class StrictJSONParser(BaseParser):
    """JSON without NaN, duplicate keys, NUL, lone surrogates or endless depth.

    A view that takes larger bodies says so in its `max_body_bytes`.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        view = (parser_context or {}).get("view")
        limit = getattr(view, "max_body_bytes", None) or settings.EVALSCHED_MAX_BODY_BYTES
        return strict_json.loads(bounded(stream, limit), max_bytes=limit)


def bounded(stream: IO[Any], limit: int) -> bytes:
    """Read a body of at most `limit` bytes.

    Raises:
        PayloadTooLarge: it is longer.
    """
    body: bytes = stream.read(limit + 1)
    if len(body) > limit:
        raise PayloadTooLarge(f"The body is larger than {limit:,} bytes.")
    return body
