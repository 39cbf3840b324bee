"""Every error, whatever raised it, in one shape: a type, a sentence, the id to look for in logs.

The types are a fixed list: those of `access.errors` and the ones in `_TYPES`.
"""

from typing import Any

import structlog
from django.core.exceptions import DisallowedHost, ObjectDoesNotExist, PermissionDenied
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from psycopg.errors import ForeignKeyViolation
from rest_framework import exceptions
from rest_framework.response import Response

from access.errors import Conflict, NotFound, RateLimited, Refusal, Unauthenticated, Unavailable

logger = structlog.get_logger(__name__)
_TYPES = {
    400: "invalid",
    401: "not_authenticated",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
    503: "unavailable",
}
_SENTENCES = {
    400: "The request could not be read.",
    403: "You may not do this.",
    404: "There is nothing at this address.",
    500: "Something went wrong here. The correlation id finds it in the logs.",
}
_OTHER_HOST = (
    "The service may not be asked under this name. Whoever runs it adds the name to ALLOWED_HOSTS."
)


def shape(
    request: HttpRequest, status: int, message: str, *, kind: str = "", details: Any = None
) -> dict[str, Any]:
    """Return the body of an error answer."""
    body = {
        "error": kind or _TYPES[status],
        "message": message,
        "status_code": status,
        "correlation_id": request.META.get("HTTP_X_REQUEST_ID", ""),
    }
    return body | ({"details": details} if details else {})


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn what a view raised into an answer; None (so a 500) for what nobody expected."""
    request = context["request"]
    error = _as_refusal(error, request)
    if isinstance(error, Refusal):
        body = shape(
            request, error.status_code, error.message, kind=error.type, details=error.details
        )
        return Response(body, status=error.status_code, headers=_headers_of(error))
    if isinstance(error, exceptions.ValidationError):
        details = _flat(error.detail)
        return Response(shape(request, 400, _summary(details), details=details), status=400)
    if isinstance(error, exceptions.APIException):
        return _of_rest_framework(request, error)
    if isinstance(error, PermissionDenied):
        return Response(shape(request, 403, _SENTENCES[403]), status=403)
    return None


def _as_refusal(error: Exception, request: Any) -> Exception:
    """Say in our words what the framework and the database raised; others pass unchanged."""
    if isinstance(error, OperationalError | InterfaceError):
        # The answer does not say which: away, too slow, or a deadlock.
        logger.error("database unavailable", error=repr(error), path=request.path)
        return Unavailable("The database is away. Nothing was changed; try again.")
    if isinstance(error, Http404 | ObjectDoesNotExist) or _changed_nothing(error):
        return NotFound("There is no such object in this project, or no longer.")
    if isinstance(error, IntegrityError) and isinstance(error.__cause__, ForeignKeyViolation):
        return Conflict("Something this refers to was deleted at this very moment. Try again.")
    return error


def _changed_nothing(error: Exception) -> bool:
    """Whether a save met no row: it was deleted since it was read."""
    return type(error) is DatabaseError and "did not affect any rows" in str(error)


def _headers_of(refusal: Refusal) -> dict[str, str]:
    if isinstance(refusal, RateLimited | Unavailable):
        return {"Retry-After": str(refusal.retry_after)}
    if isinstance(refusal, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {}


def _of_rest_framework(request: Any, error: exceptions.APIException) -> Response:
    headers = {}
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, exceptions.MethodNotAllowed):
        headers["Allow"] = ", ".join(request.parser_context["view"].allowed_methods)
    sentence = str(error.detail)
    if isinstance(error, exceptions.UnsupportedMediaType) and sentence.endswith(" in request."):
        # The framework's own words, which do not say what to do.
        sentence += " Send the body as JSON, with Content-Type: application/json."
    body = shape(request, error.status_code, sentence)
    return Response(body, status=error.status_code, headers=headers)


def _flat(detail: Any, path: str = "") -> dict[str, list[str]]:
    """Flatten DRF's nested complaints to {"field.0.inner": [sentences]}."""
    if isinstance(detail, dict):
        flat: dict[str, list[str]] = {}
        for name, inner in detail.items():
            flat |= _flat(inner, f"{path}.{name}" if path else str(name))
        return flat
    if isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        flat = {}
        for index, inner in enumerate(detail):
            flat |= _flat(inner, f"{path}.{index}" if path else str(index)) if inner else {}
        return flat
    sentences = detail if isinstance(detail, list) else [detail]
    return {path or "non_field_errors": [str(sentence) for sentence in sentences]}


def _summary(details: dict[str, list[str]]) -> str:
    field, sentences = next(iter(details.items()))
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{field}: {sentences[0]}{more}" if field != "non_field_errors" else sentences[0] + more


def unavailable_response(request: HttpRequest) -> HttpResponse:
    message = "The database is away. Nothing was changed; try again in a few seconds."
    return _json(request, 503, message, headers={"Retry-After": "5"})


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, DisallowedHost):
        return _json(request, 400, _OTHER_HOST)
    return _json(request, 400, _SENTENCES[400])


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _json(request, 403, _SENTENCES[403])


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _json(request, 404, _SENTENCES[404])


def server_error(request: HttpRequest) -> HttpResponse:
    return _json(request, 500, _SENTENCES[500])


def _json(
    request: HttpRequest, status: int, message: str, headers: dict[str, str] | None = None
) -> HttpResponse:
    return JsonResponse(shape(request, status, message), status=status, headers=headers)
