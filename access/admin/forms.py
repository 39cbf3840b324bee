"""Forms of the admin: validated as far as a form can see, refused by the domain beyond that."""

import re
import zoneinfo
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from access.errors import Refusal

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Any]
    _TextInput = forms.TextInput
else:
    from unfold.widgets import UnfoldAdminTextInputWidget as _TextInput

    _ModelForm = forms.ModelForm

_ROOT = re.compile(r"[.\[]")


class DomainForm(_ModelForm):
    """A form whose values go to a domain function; `refusal` is what that said the first time.

    The form's `instance` stays as it was read: the domain changes the row, not the form.
    """

    refusal: ClassVar[Refusal | None] = None
    # The domain's names of fields, where the form's differ.
    names: ClassVar[Mapping[str, str]] = {}

    def clean(self) -> dict[str, Any]:
        super().clean()
        if self.refusal is not None:
            self.blame(self.refusal)
        return self.cleaned_data

    def blame(self, refusal: Refusal) -> None:
        """Put each complaint at its field, and what concerns none of them above the form."""
        elsewhere: list[str] = []
        for place, sentences in refusal.details.items():
            root, *rest = _ROOT.split(place, maxsplit=1)
            field = self.names.get(root, root)
            if field in self.fields:
                said = [self.worded(place, text) if rest else text for text in sentences]
                self.add_error(field, said)
            else:
                elsewhere += sentences
        if elsewhere or not refusal.details:
            self.add_error(None, elsewhere or [refusal.message])

    def worded(self, place: str, sentence: str) -> str:
        """Return a complaint about a part of a field, such as `assertions[1].type`."""
        return f"{place}: {sentence}"

    def _post_clean(self) -> None:
        """Leave the instance alone; uniqueness and rules are the domain's and the database's."""


@lru_cache(maxsize=1)
def zone_names() -> tuple[str, ...]:
    """Return the names of time zones that people choose from."""
    areas = sorted(name for name in zoneinfo.available_timezones() if "/" in name)
    return ("UTC", *areas)


class TimezoneInput(_TextInput):
    """A text with the names of all zones to complete it from."""

    def __init__(self) -> None:
        super().__init__(attrs={"list": "zone-names", "autocomplete": "off"})

    def render(self, *args: Any, **kwargs: Any) -> SafeString:
        options = format_html_join("", '<option value="{}">', ((name,) for name in zone_names()))
        shown = super().render(*args, **kwargs)
        return format_html('{}<datalist id="zone-names">{}</datalist>', shown, options)
