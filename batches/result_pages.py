"""Pages of a batch's calls: by offset, or each where the one before ended."""

from typing import Any, ClassVar

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from access.api.cursors import CURSOR
from access.api.pagination import PagesByKey
from access.errors import Invalid
from batches.models import Job


class ResultPages(PagesByKey):
    """In the order of the cases `next` leads on by `cursor`, the last call's ordinal and repeat.

    With another `ordering` it leads on by `offset`.
    """

    parameters: ClassVar[frozenset[str]] = frozenset({"cursor"})
    request: Request
    limit: int
    offset: int
    count: int

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        cursor = request.query_params.get("cursor", "")
        self.last: Job | None = None
        self.by_cursor = not request.query_params.get("ordering")
        if cursor and not self.by_cursor:
            raise Invalid.field("cursor", "It follows the cases' order: leave `ordering` out.")
        if cursor:
            self.known_count = self.get_count(queryset)
            ordinal, repeat = _read(cursor)
            further = Q(ordinal__gt=ordinal) | Q(ordinal=ordinal, repeat__gt=repeat)
            queryset = queryset.filter(further, ordinal__gte=ordinal)
        page: list[Job] = super().paginate_queryset(queryset, request, view)
        if len(page) == self.limit and self._goes_on(queryset, cursor):
            self.last = page[-1]
        return page

    def _goes_on(self, queryset: Any, cursor: str) -> bool:
        if not cursor:
            return self.offset + self.limit < self.count
        after = self.offset + self.limit
        return bool(queryset.values_list("pk")[after : after + 1])

    def get_next_link(self) -> str | None:
        if not self.by_cursor:
            link: str | None = super().get_next_link()
            return link
        if self.last is None:
            return None
        cursor = f"{self.last.ordinal}-{self.last.repeat}"
        url = replace_query_param(self.request.build_absolute_uri(), "cursor", cursor)
        return str(replace_query_param(url, "offset", 0))

    def get_previous_link(self) -> str | None:
        if self.request.query_params.get("cursor"):
            return None
        link: str | None = super().get_previous_link()
        return link

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [*super().get_schema_operation_parameters(view), CURSOR]


def _read(text: str) -> tuple[int, int]:
    ordinal, _, repeat = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in (ordinal, repeat)):  # noqa: PLR2004  what fits integer
        raise Invalid.field("cursor", "Take it from `next` of the page before.")
    return int(ordinal), int(repeat)
