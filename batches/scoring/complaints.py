"""Collecting what is wrong with an input, so that one refusal names every field to correct."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from access.errors import Invalid

# Whoever has this many complaints reads the first few, and answers stay small.
MAX_COMPLAINTS = 50

T = TypeVar("T")


class Complaints:
    """Sentences by field path, such as `assertions[1].type`, in the order they came up."""

    def __init__(self) -> None:
        self._by_field: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_field)

    def add(self, field: str, sentence: str) -> None:
        """Remember `sentence` about `field`, unless there are too many already."""
        if len(self._by_field) < MAX_COMPLAINTS or field in self._by_field:
            self._by_field.setdefault(field, []).append(sentence)

    def about(self, field: str) -> "_About":
        """Turn a refusal raised inside into complaints about `field`.

        The fields that the refusal names are parts of it: `[1].type` of `assertions`.
        """
        return _About(self, field)

    def refuse_any(self) -> None:
        """Raise Invalid with everything that was remembered; its message is the first sentence."""
        if self._by_field:
            field, sentences = next(iter(self._by_field.items()))
            raise Invalid(f"{field}: {sentences[0]}" if field else sentences[0], self._by_field)


class _About:
    # contextlib.contextmanager would be shorter; with it an import takes a third longer.
    __slots__ = ("_complaints", "_field")

    def __init__(self, complaints: Complaints, field: str) -> None:
        self._complaints = complaints
        self._field = field

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Invalid):
            return False
        for name, sentences in (error.details or {"": [error.message]}).items():
            for sentence in sentences:
                self._complaints.add(joined(self._field, name), sentence)
        return True


def each(items: Iterable[tuple[str, object]], read: Callable[[object], T]) -> list[T]:
    """Return what `read` makes of each item, and refuse all bad ones, by their names, at once."""
    complaints = Complaints()
    results = []
    for name, item in items:
        with complaints.about(name):
            results.append(read(item))
    complaints.refuse_any()
    return results


def indexed(items: Sequence[object]) -> Iterator[tuple[str, object]]:
    """Yield each item with the name it has in a path: `[0]`, `[1]`."""
    return ((f"[{index}]", item) for index, item in enumerate(items))


def joined(field: str, part: str) -> str:
    """Return the path of `part` of `field`; either may be empty."""
    return f"{field}.{part}" if field and part and not part.startswith("[") else f"{field}{part}"


def clipped(value: object, limit: int = 60) -> str:
    """Return `value` as a short piece of one line that a sentence can quote and a row can store."""
    # Twice the limit, since white space is folded; the rest of a huge text is never looked at.
    whole = value if isinstance(value, str) else str(value)
    text = whole[: 2 * limit].encode("utf-8", "replace").decode().replace("\x00", "�")
    text = " ".join(text.split())
    return f"{text[:limit]}…" if len(text) > limit or len(whole) > 2 * limit else text


def shown(value: object) -> str:
    """Return a JSON value as a sentence shows it: a text in quotes, anything else as JSON."""
    if isinstance(value, str):
        return f'"{clipped(value)}"'
    return clipped(json.dumps(value, ensure_ascii=False, default=str))
