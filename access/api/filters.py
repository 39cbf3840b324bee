"""Filters that say when they are not understood."""

from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.request import Request

from access.errors import Invalid

# What the pages and their order are asked for with.
OF_EVERY_LIST = {"limit", "offset", "ordering"}


class Filters(DjangoFilterBackend):
    """The filters that a view names. A misspelt one is refused: it would answer all rows."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        filters = self.get_filterset_class(view, queryset)
        of_pages: frozenset[str] = getattr(view.pagination_class, "parameters", frozenset())
        known = sorted(OF_EVERY_LIST | of_pages | set(filters.base_filters if filters else ()))
        for name in request.query_params:
            if name not in known:
                raise Invalid.field(name, f"This is not one of: {', '.join(known)}.")
        return super().filter_queryset(request, queryset, view)


_ANSWERS = {"true": True, "false": False, "": None}


class _YesOrNoField(forms.NullBooleanField):
    # Hands on what was written; that of the library hands on None for what it does not know.
    widget = forms.TextInput

    def to_python(self, value: Any) -> bool | None:  # type: ignore[override]  # None is no filter
        text = "" if value is None else str(value).lower()
        if text not in _ANSWERS:
            raise ValidationError("This is true or false.")
        return _ANSWERS[text]


class YesOrNo(django_filters.BooleanFilter):
    """`true` or `false`. The library's own takes anything else for no filter at all."""

    field_class = _YesOrNoField


class _InstantField(IsoDateTimeField):
    def to_python(self, value: Any) -> datetime | None:
        found: datetime | None = super().to_python(value)
        try:
            # PostgreSQL knows no offsets of a day and more.
            return None if found is None else found.astimezone(UTC)
        except OverflowError:
            raise ValidationError("This is out of range.") from None


class Instant(django_filters.IsoDateTimeFilter):
    """A time as ISO 8601, in any offset."""

    field_class = _InstantField
