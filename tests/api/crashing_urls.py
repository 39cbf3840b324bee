"""Routes that fail in every way, beside the real ones. For test_failures.py only."""

from typing import Never

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest
from django.urls import path
from rest_framework.request import Request

from access.api.views import ApiView
from access.models import Project
from config.urls import handler400, handler403, handler404, handler500
from config.urls import urlpatterns as real

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

DETAIL = "a detail that is nobody's business"
CRASHES: dict[str, type[Exception]] = {
    "value": ValueError,
    "key": KeyError,
    "recursion": RecursionError,
    "memory": MemoryError,
    "missing": Http404,
    "denied": PermissionDenied,
    "suspicious": SuspiciousOperation,
    "operational": OperationalError,
    "interface": InterfaceError,
}


class Crash(ApiView):
    queryset = Project.objects.none()

    def get(self, request: Request, kind: str) -> Never:
        raise CRASHES[kind](DETAIL)


def crash(request: HttpRequest, kind: str) -> Never:
    raise CRASHES[kind](DETAIL)


urlpatterns = [
    path("api/crash/<str:kind>", Crash.as_view()),
    path("crash/<str:kind>", crash),
    *real,
]
