"""POST /v1/traces: OTLP over HTTP. Errors are google.rpc.Status, not the API's own shape."""

from typing import Any

import structlog
from django.conf import settings
from django.http import HttpResponse
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

from access.api import failures
from access.api.parsing import PayloadTooLarge, bounded
from access.api.views import ApiView
from access.errors import Invalid
from access.models import Scope
from alerts import otlp, traces
from alerts.otlp import JSON, PROTOBUF

logger = structlog.get_logger(__name__)

# Codes of google.rpc.Status for what HTTP calls otherwise.
_CODES = {
    400: 3,  # INVALID_ARGUMENT
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 5,  # NOT_FOUND
    405: 12,  # UNIMPLEMENTED
    413: 3,
    415: 3,
    429: 8,  # RESOURCE_EXHAUSTED
    503: 14,  # UNAVAILABLE
}
_INTERNAL = 13


class AsAsked(BaseContentNegotiation):
    """The answer comes in the type of the request, whatever else would be accepted."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class OtlpTraces(ApiView):
    content_negotiation_class = AsAsked
    write_scope = Scope.INGEST
    schema = None
    # A body that comes slowly is read before the transaction is opened.
    calls_out = True

    def post(self, request: Request) -> HttpResponse:
        content_type = _type_of(request)
        if content_type not in {PROTOBUF, JSON}:
            raise UnsupportedMediaType(content_type)
        try:
            decoded = otlp.decode(_body(request), content_type, now=self.now)
        except otlp.Undecodable as error:
            raise Invalid(str(error)) from None
        with self.acting():
            traces.store(self.actor.project.pk, self.actor.user.pk, decoded.spans, now=self.now)
        return HttpResponse(otlp.answer(content_type, decoded), content_type=content_type)

    def handle_exception(self, exc: Exception) -> Any:
        """Say what the API says, in the shape that exporters read."""
        said: Any = failures.answer(exc, self.get_exception_handler_context())
        content_type = JSON if _type_of(self.request) == JSON else PROTOBUF
        if said is None:
            logger.error("spans not taken", exc_info=exc)
            sentence = "Something went wrong here. The logs say what."
            body = otlp.failure(content_type, _INTERNAL, sentence)
            return HttpResponse(body, status=500, content_type=content_type)
        body = otlp.failure(content_type, _CODES[said.status_code], said.data["message"])
        kept = ("Retry-After", "WWW-Authenticate", "Allow")
        headers = {name: said.headers[name] for name in kept if name in said.headers}
        return HttpResponse(
            body, status=said.status_code, content_type=content_type, headers=headers
        )


def _type_of(request: Any) -> str:
    return str(request.META.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()


def _body(request: Request) -> bytes:
    limit = settings.EVALSCHED_MAX_BODY_TRACES_BYTES
    body = bounded(request.stream, limit) if request.stream else b""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise UnsupportedMediaType(
            encoding, f"Content-Encoding is gzip or nothing, not {encoding}."
        )
    try:
        return otlp.decompress(body, limit)
    except otlp.Oversized:
        sentence = f"Decompressed the body is larger than {limit:,} bytes. Send less at a time."
        raise PayloadTooLarge(sentence) from None
