"""Small steps around every request: its id, the optional slash, and a database that is away."""

import re
import uuid
from collections.abc import Callable

import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from access.api.failures import unavailable_response

Handler = Callable[[HttpRequest], HttpResponseBase]

# A client's own id goes into log lines and headers, so it has to be harmless there.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SLASHLESS = ("/api/", "/v1/", "/demo/", "/experiments/")
logger = structlog.get_logger(__name__)


def request_id(get_response: Handler) -> Handler:
    """Give every request an id (the client's `X-Request-ID` where it is harmless) and answer it."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        # Not through `request.headers`, which would be built now and keep the old value.
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        identifier = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.META["HTTP_X_REQUEST_ID"] = identifier
        request.META.pop("HTTP_X_CORRELATION_ID", None)
        response = get_response(request)
        response["X-Request-ID"] = identifier
        return response

    return handle


def optional_slash(get_response: Handler) -> Handler:
    """Take a trailing slash off API paths: routes have none, and both forms answer alike."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(_SLASHLESS) and request.path_info.endswith("/"):
            request.path_info = request.path_info.rstrip("/")
            request.path = request.path.rstrip("/")
        return get_response(request)

    return handle


class unavailable:  # noqa: N801  a middleware like its neighbours; a class for process_exception
    """Answer 503 with Retry-After where the database is away, instead of a 500."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            return self.get_response(request)
        except (OperationalError, InterfaceError) as error:
            return self._answer(request, error)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, OperationalError | InterfaceError):
            return self._answer(request, error)
        return None

    def _answer(self, request: HttpRequest, error: Exception) -> HttpResponse:
        logger.error("database unavailable", error=type(error).__name__, path=request.path)
        return unavailable_response(request)
