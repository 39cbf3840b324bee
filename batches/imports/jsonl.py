"""JSONL: one case a line, in the fields of the API. The format of exports."""

import json
from collections.abc import Iterable, Iterator

from access.errors import Invalid
from access.json_places import positions_of
from access.strict_json import Malformed, loads
from batches import cases
from batches.cases import CaseDraft
from batches.scoring.complaints import clipped

# Enough for the largest public benchmarks; a batch has a row per case and repeat.
MAX_CASES = 100_000
# 100,000 cases of half a page each; the file and its cases are in memory at once.
MAX_BYTES = 100 * 1024 * 1024
# A case at the limits of its own fields, in a script of three bytes a character.
MAX_LINE_BYTES = 4 * 1024 * 1024
# So that a file is corrected in a few rounds, and an answer that names its errors stays small.
MAX_BAD_LINES = 20
# Finding the columns in a bad line takes up to a second a million characters.
MAX_BAD_CHARACTERS = 1_000_000


_UNSAID: tuple[object, ...] = (None, [], {})


class ImportRefused(Invalid):
    """The file was not imported, no case of it. Correct it at `line` and `column`, both from 1.

    The details have an entry for each of the first bad lines, `line 3`, with places and sentences.
    """

    def __init__(
        self, complaint: str, *, line: int, column: int, details: dict[str, list[str]] | None = None
    ) -> None:
        sentences = details or {f"line {line}": [f"Column {column}: {complaint}"]}
        super().__init__(f"Line {line}, column {column}: {complaint}", sentences)
        self.line = line
        self.column = column


def parse(content: bytes | str) -> list[CaseDraft]:
    """Return the cases of a file: all of them, or none.

    Lines end with LF or CRLF, blank ones are skipped, a byte order mark is allowed. A case without
    a key gets one from its content, so a line that occurs twice is refused like a repeated key.

    Raises:
        ImportRefused: a line is bad, or there are too many, or none.
    """
    drafts: list[CaseDraft] = []
    line_of_key: dict[str, int] = {}
    refusals: list[ImportRefused] = []
    bad_characters = 0
    for number, line in _lines(content):
        if len(drafts) == MAX_CASES:
            raise ImportRefused(f"A file has at most {MAX_CASES:,} cases.", line=number, column=1)
        try:
            drafts.append(_case(line, number, line_of_key))
        except ImportRefused as refusal:
            refusals.append(refusal)
            bad_characters += len(line)
        if len(refusals) == MAX_BAD_LINES or bad_characters > MAX_BAD_CHARACTERS:
            break
    if refusals:
        raise _together(refusals)
    if not drafts:
        raise ImportRefused("There is no case in this file.", line=1, column=1)
    return drafts


def dump(drafts: Iterable[CaseDraft]) -> Iterator[str]:
    """Yield a line, with its end, for each case; `parse` reads the same cases with the same hashes.

    Fields that are empty or have their default are left out. Nothing outside of ASCII is escaped.
    """
    for case in drafts:
        fields = {name: value for name, value in case.as_json().items() if value not in _UNSAID}
        if case.weight == 1:
            del fields["weight"]
        yield json.dumps(fields, ensure_ascii=False) + "\n"


def _lines(content: bytes | str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank.

    Only LF ends a line: str.splitlines would also cut at characters that JSON allows in texts.
    """
    text = _decoded(content) if isinstance(content, bytes) else content
    if len(text) > MAX_BYTES:
        raise _too_large()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line and not line.isspace():
            yield number, line


def _decoded(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _too_large()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode().removeprefix("\ufeff")
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        complaint = "This is not UTF-8. Save the file as UTF-8 and import it again."
        raise ImportRefused(complaint, line=line, column=column) from None


def _case(line: str, number: int, line_of_key: dict[str, int]) -> CaseDraft:
    """Return the case on `line`, and note its key in `line_of_key`."""
    try:
        raw = loads(line, max_bytes=MAX_LINE_BYTES)
    except Malformed as error:
        raise ImportRefused(error.complaint, line=number, column=error.column) from None
    if not isinstance(raw, dict):
        raise ImportRefused("A line is one JSON object, a case.", line=number, column=1)
    try:
        case = cases.draft(raw)
    except Invalid as error:
        raise _misfit(error, line, number) from None
    first = line_of_key.setdefault(case.key, number)
    if first != number:
        raise _repeated(case.key, line, number, first)
    return case


def _misfit(error: Invalid, line: str, number: int) -> ImportRefused:
    """Return the refusal of a line that is JSON and no case, with the column of every bad field."""
    places = positions_of(line, error.details)
    placed = sorted(
        (places[path][1], path, sentence)
        for path, sentences in error.details.items()
        for sentence in sentences
    )
    column, path, sentence = placed[0]
    details = [f"Column {place}, {field}: {complaint}" for place, field, complaint in placed]
    return ImportRefused(
        f"{path}: {sentence}", line=number, column=column, details={f"line {number}": details}
    )


def _repeated(key: str, line: str, number: int, first: int) -> ImportRefused:
    complaint = (
        f"The key {clipped(key)} is on line {first} already; each case has a key of its own."
    )
    column = positions_of(line, ["key"])["key"][1]
    return ImportRefused(complaint, line=number, column=column)


def _together(refusals: list[ImportRefused]) -> ImportRefused:
    first = refusals[0]
    details = {line: found for refusal in refusals for line, found in refusal.details.items()}
    complaint = first.message.partition(": ")[2]
    return ImportRefused(complaint, line=first.line, column=first.column, details=details)


def _too_large() -> ImportRefused:
    complaint = f"A file has at most {MAX_BYTES // 1024 // 1024} MiB; import it in parts."
    return ImportRefused(complaint, line=1, column=1)
