"""Lists over long tables: pages that begin where the last one ended, and counts that end early."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from access.api.pagination import Pagination
from access.errors import Invalid

# Counting all rows of a long table takes longer than reading a page of it.
MOST_COUNTED = 10_000
CURSOR = {
    "name": "cursor",
    "in": "query",
    "required": False,
    "description": "Where the last page ended; take it from `next`.",
    "schema": {"type": "string"},
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class CursorPagination(Pagination):
    """`limit` and `offset` as everywhere; `next` leads on by `cursor`, as cheaply each time.

    The rows are ordered by `column` and id, newest first. `count` ends at MOST_COUNTED.
    """

    column: ClassVar[str] = "ended_at"
    parameters: ClassVar[frozenset[str]] = frozenset({"cursor"})

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.request: Request = request
        self.limit = self.get_limit(request)
        self.offset = self.get_offset(request)
        self.count = queryset.order_by()[: MOST_COUNTED + 1].count()
        self.count = min(self.count, MOST_COUNTED)
        rows = queryset.order_by(f"-{self.column}", "-id")
        text = request.query_params.get("cursor", "")
        if text:
            instant, number = _read(text)
            rows = rows.filter(
                Q(**{f"{self.column}__lt": instant})
                | Q(**{self.column: instant, "id__lt": number}),
                # Said once more for the planner, which does not see it in the OR.
                **{f"{self.column}__lte": instant},
            )
        found = list(rows[self.offset : self.offset + self.limit + 1])
        page = found[: self.limit]
        self._next = _written(page[-1], self.column) if len(found) > len(page) else ""
        return page

    def get_next_link(self) -> str | None:
        if not self._next:
            return None
        url = replace_query_param(self.request.build_absolute_uri(), "cursor", self._next)
        return str(replace_query_param(url, "offset", 0))

    def get_previous_link(self) -> str | None:
        return None if self.request.query_params.get("cursor") else super().get_previous_link()

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "count": self.count,
                "next": self.get_next_link(),
                "previous": self.get_previous_link(),
                "results": data,
            }
        )

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            *super().get_schema_operation_parameters(view),
            CURSOR,
        ]


def _written(row: Any, column: str) -> str:
    return f"{(getattr(row, column) - _EPOCH) // _MICROSECOND}-{row.pk}"


def _read(text: str) -> tuple[datetime, int]:
    instant, _, number = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (instant, number)):  # noqa: PLR2004  what fits bigint
        raise Invalid.field("cursor", "Take it from `next` of the page before.")
    try:
        return _EPOCH + int(instant) * _MICROSECOND, int(number)
    except OverflowError:
        raise Invalid.field("cursor", "Take it from `next` of the page before.") from None
