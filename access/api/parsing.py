"""How a request's body becomes data: strict JSON or a form, bounded before it is read."""

import io
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from rest_framework.exceptions import APIException
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from access import strict_json
from access.errors import Invalid


class PayloadTooLarge(APIException):
    status_code = 413
    default_code = "payload_too_large"


class ApiRequest(Request):
    """A request whose body may come in chunks, without a length."""

    def _load_stream(self) -> None:
        given = self._request.META
        if "chunked" not in given.get("HTTP_TRANSFER_ENCODING", "").lower():
            super()._load_stream()  # type: ignore[misc]  # not in the stubs
        elif given.get("wsgi.input_terminated"):
            # Django reads as much as the length says; the server knows where the chunks end.
            self._stream = given["wsgi.input"]
        else:
            raise Invalid("This server takes no body in chunks. Send it with a Content-Length.")


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
        limit = _limit(parser_context)
        return strict_json.loads(bounded(stream, limit), max_bytes=limit)


class FormParser(BaseParser):
    """A form with a file, read into memory like any other body. Each field occurs once."""

    media_type = "multipart/form-data"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = bounded(stream, _limit(parser_context))
        meta = {"CONTENT_TYPE": media_type or self.media_type, "CONTENT_LENGTH": len(body)}
        handler = _InMemory()
        try:
            fields, files = MultiPartParser(meta, io.BytesIO(body), [handler], "utf-8").parse()
        except (MultiPartParserError, SuspiciousOperation):
            raise Invalid("This is no form as multipart/form-data has them.") from None
        sent: dict[str, Any] = {}
        for name, values in (*fields.lists(), *files.lists()):
            if len(values) > 1 or name in sent:
                raise Invalid.field(name[:100], "This field occurs twice.")
            sent[name] = values[0]
        for name, value in sent.items():
            if strict_json.unstorable(name + (value if isinstance(value, str) else "")):
                raise Invalid.field(ascii(name)[:100], strict_json.UNSTORABLE)
        return sent


class _InMemory(MemoryFileUploadHandler):
    """Keeps files in memory: the body is there already, and within its limit."""

    def handle_raw_input(self, *args: Any, **kwargs: Any) -> None:
        self.activated = True


def _limit(parser_context: Mapping[str, Any] | None) -> int:
    view = (parser_context or {}).get("view")
    limit: int = getattr(view, "max_body_bytes", None) or settings.EVALSCHED_MAX_BODY_BYTES
    return limit


def bounded(stream: IO[Any], limit: int) -> bytes:
    """Read a body of at most `limit` bytes.

    Raises:
        PayloadTooLarge: it is longer.
        Invalid: it broke off, or its chunks are malformed.
    """
    try:
        body: bytes = stream.read(limit + 1)
    except OSError:
        raise Invalid("The body broke off before its end, or its chunks are malformed.") from None
    if len(body) > limit:
        raise PayloadTooLarge(f"The body is larger than {limit:,} bytes.")
    return body
