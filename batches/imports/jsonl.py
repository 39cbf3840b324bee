"""JSONL: one case a line, in the fields of the API. The format of exports."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from access.json_places import positions_of
from access.strict_json import Malformed, loads
from batches.cases import CaseDraft
from batches.imports.files import Gathering, ImportRefused, Options, Parsed, Spot, text_of

# A case at the limits of its own fields, in a script of three bytes a character.
MAX_LINE_BYTES = 4 * 1024 * 1024

_UNSAID: tuple[object, ...] = (None, [], {})


class Line(NamedTuple):
    """One line that is a JSON object."""

    number: int
    text: str
    value: dict[str, object]

    def spots(self, paths: Iterable[str]) -> dict[str, Spot]:
        """Find the values at `paths` of the object."""
        places = positions_of(self.text, paths)
        return {path: Spot(self.number, column, path) for path, (_, column) in places.items()}


def parse(content: bytes | str, options: Options | None = None) -> Parsed:
    """Return the cases of a file: all of them, or none.

    Lines end with LF or CRLF, blank ones are skipped, a byte order mark is allowed. A case without
    a key gets one from its content, so a line that occurs twice is refused like a repeated key.

    Raises:
        ImportRefused: a line is bad, or there are too many, or none.
    """
    gathering = Gathering()
    for line in objects(text_of(content), gathering):
        gathering.take(line.value, line.number, line.spots, characters=len(line.text))
    return gathering.result()


def objects(text: str, gathering: Gathering) -> Iterator[Line]:
    """Yield the lines that are JSON objects; what is wrong with the others is noted.

    Only LF ends a line: str.splitlines would also cut at characters that JSON allows in texts.
    """
    for number, line in _lines(text):
        try:
            yield Line(number, line, _object(line, number))
        except ImportRefused as refusal:
            gathering.refuse(refusal, characters=len(line))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank, one copy at a time."""
    start, number = 0, 0
    while start <= len(text):
        number += 1
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end]
        if line and not line.isspace():
            yield number, line
        start = end + 1


def dump(drafts: Iterable[CaseDraft]) -> Iterator[str]:
    """Yield a line, with its end, for each case; `parse` reads the same cases with the same hashes.

    Fields that are empty or have their default are left out. Nothing outside of ASCII is escaped.
    """
    for case in drafts:
        fields = {name: value for name, value in case.as_json().items() if value not in _UNSAID}
        if case.weight == 1:
            del fields["weight"]
        yield json.dumps(fields, ensure_ascii=False) + "\n"


def _object(line: str, number: int) -> dict[str, object]:
    if line.strip() == "[":
        complaint = "A line is one JSON object, a case, without the brackets and commas of a list."
        raise ImportRefused(complaint, line=number, column=line.index("[") + 1)
    try:
        raw = loads(line, max_bytes=MAX_LINE_BYTES)
    except Malformed as error:
        raise ImportRefused(error.complaint, line=number, column=error.column) from None
    if not isinstance(raw, dict):
        raise ImportRefused("A line is one JSON object, a case.", line=number, column=1)
    return raw
