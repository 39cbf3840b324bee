"""Lists over millions of rows: no counting, no far pages, newest first by the primary key."""

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from access.admin.base import OperatorAdmin

if TYPE_CHECKING:
    _InfinitePaginator = Paginator[Any]
    _ChangeList = ChangeList
else:
    from unfold.paginator import InfinitePaginator as _InfinitePaginator
    from unfold.views import ChangeList as _ChangeList

# Further back than this people filter; a deep OFFSET reads all that it skips.
LAST_ROW = 10_000

_SPANS = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last 24 hours", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
    "month": ("Last 30 days", timedelta(days=30)),
}


class CappedPaginator(_InfinitePaginator):
    """Pages up to LAST_ROW, whether there are rows or not: asking would mean to count them."""

    template_name = "admin/evalsched/pagination.html"
    count = LAST_ROW


class LongChangeList(_ChangeList):
    """A change list that does not speak of results in all, as nobody has counted them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count = self.result_count


class LongList(OperatorAdmin):
    """Mixed into an admin whose table grows with use. UUIDs are version 7: ordered by time."""

    show_full_result_count = False
    paginator = CappedPaginator
    actions = None
    ordering = ("-id",)
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LongChangeList


class MadeFilter(admin.SimpleListFilter):
    """When a row was made, read from its time-ordered id: the primary key's index answers."""

    title = "made"
    parameter_name = "made"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, words) for key, (words, _) in _SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = _SPANS.get(self.value() or "")
        if chosen is None:
            return queryset
        return queryset.filter(id__gte=first_id(timezone.now() - chosen[1]))


def first_id(instant: datetime) -> uuid.UUID:
    """Return the least UUID version 7 that can have been made at `instant` or later."""
    return uuid.UUID(int=int(instant.timestamp() * 1000) << 80)
