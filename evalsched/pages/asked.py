"""What the address of a results page asks for: which batches, which cases, in which order."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from string import ascii_uppercase
from typing import TypeVar
from urllib.parse import urlencode

from django.http import HttpRequest

from batches.case_comparisons import Order, Show
from batches.models import Batch

# As many as stand beside each other on a page.
MOST_BATCHES = 6
_Choice = TypeVar("_Choice", bound=StrEnum)


@dataclass(frozen=True)
class Asked:
    """`batches` begins with the one that the others are compared with. `total` are all there are.

    `query` is what asks for the same again, without the page.
    """

    batches: Sequence[Batch]
    total: Sequence[Batch]
    show: Show
    order: Order
    query: str

    @classmethod
    def of(cls, request: HttpRequest, found: Sequence[Batch]) -> "Asked":
        """Read the address; what it names that is not there is left out of account.

        Without a choice it is the first batch and the newest of the others.
        """
        by_id = {str(batch.pk): batch for batch in found}
        named = [_plain(text) for text in request.GET.getlist("batch")]
        chosen = [batch for key, batch in by_id.items() if key in named]
        baseline = by_id.get(_plain(request.GET.get("baseline", "")), (chosen or found)[0])
        others = [batch for batch in chosen or found if batch != baseline]
        batches = [baseline, *others[-(MOST_BATCHES - 1) :]]
        show = _choice(Show, request.GET.get("show"), Show.ALL)
        order = _choice(Order, request.GET.get("order"), Order.SUITE)
        query = [("project", str(baseline.project_id)), ("baseline", str(baseline.pk))]
        query += [("batch", str(batch.pk)) for batch in batches]
        query += [("show", show.value), ("order", order.value)]
        return cls(batches, found, show, order, urlencode(query))

    @property
    def comparing(self) -> bool:
        return len(self.batches) > 1

    def letter(self, batch: Batch) -> str:
        """Return a short name of the batch: A for the oldest, B for the next."""
        number = list(self.total).index(batch)
        return ascii_uppercase[number] if number < len(ascii_uppercase) else f"#{number + 1}"


def _plain(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return ""


def _choice(kind: type[_Choice], text: str | None, usual: _Choice) -> _Choice:
    return kind(text) if text in {choice.value for choice in kind} else usual
