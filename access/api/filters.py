"""Filters that say when they are not understood."""

from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError

_ANSWERS = {"true": True, "false": False, "": None}


class _YesOrNoField(forms.NullBooleanField):
    def to_python(self, value: Any) -> bool | None:  # type: ignore[override]  # None is no filter
        text = "" if value is None else str(value).lower()
        if text not in _ANSWERS:
            raise ValidationError("This is true or false.")
        return _ANSWERS[text]


class YesOrNo(django_filters.BooleanFilter):
    """`true` or `false`. The library's own takes anything else for no filter at all."""

    field_class = _YesOrNoField
