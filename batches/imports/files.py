"""What every format shares: a file's text, its limits, and refusing it with places. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from access.errors import Invalid
from access.json_places import place
from access.strict_json import UNSTORABLE, unstorable
from batches import cases
from batches.cases import CaseDraft
from batches.scoring.complaints import clipped

# Enough for the largest public benchmarks; a batch has a row per case and repeat.
MAX_CASES = 100_000
# 100,000 cases of half a page each; the file and its cases are in memory at once.
MAX_BYTES = 100 * 1024 * 1024
# So that a file is corrected in a few rounds, and an answer that names its errors stays small.
MAX_BAD_CASES = 20
# Finding the columns in a bad line takes up to a second a million characters.
MAX_BAD_CHARACTERS = 1_000_000
# What was left out is said in a few sentences, not once a case.
MAX_NOTES = 20

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Spot(NamedTuple):
    """Where something stands in a file: line and column from 1, and what it is called there."""

    line: int
    column: int
    name: str


# The line of a case, or how it is found where that is slow and mostly not asked for.
Line = int | Callable[[], int]

# Finds where the fields of a case stand, by their paths, such as `assertions[1].type`.
Spots = Callable[[Iterable[str]], Mapping[str, Spot]]


@dataclass(frozen=True)
class Parsed:
    """The cases of a file, and sentences about what of it they leave out."""

    drafts: list[CaseDraft]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """What a file may leave unsaid.

    `prompt` is the template for tests without one. `scorer` is how reference answers are compared:
    `match`, `includes` or `exact`, empty for the format's usual one.
    """

    prompt: str = ""
    scorer: str = ""


class ImportRefused(Invalid):
    """The file was not imported, no case of it. Correct it at `line` and `column`, both from 1.

    The details have an entry for each of the first bad lines, `line 3`, with places and sentences.
    """

    def __init__(
        self, complaint: str, *, line: int, column: int, details: dict[str, list[str]] | None = None
    ) -> None:
        sentences = details or {f"line {line}": [f"Column {column}: {complaint}"]}
        super().__init__(f"Line {line}, column {column}: {complaint}", sentences)
        self.complaint = complaint
        self.line = line
        self.column = column


class Gathering:
    """The cases of a file while it is read, and what is wrong with it."""

    def __init__(self) -> None:
        self._drafts: list[CaseDraft] = []
        self._line_of_key: dict[str, Line] = {}
        self._refusals: list[ImportRefused] = []
        self._bad_characters = 0
        self._notes: dict[str, None] = {}

    def take(
        self,
        raw: Mapping[str, object],
        line: Line,
        spots: Spots,
        *,
        made_up_key: str = "",
        characters: int = 0,
    ) -> None:
        """Take the case that `raw` spells in so many characters, or note where it is bad.

        `made_up_key` is for formats whose cases have no names; one that is taken gets a number.

        Raises:
            ImportRefused: there are too many cases, or too many bad ones.
        """
        if len(self._drafts) == MAX_CASES:
            complaint = f"A file has at most {MAX_CASES:,} cases."
            raise ImportRefused(complaint, line=_number(line), column=1)
        if made_up_key:
            raw = {**raw, "key": self._free(made_up_key)}
        try:
            case = cases.draft(raw)
        except Invalid as error:
            self.refuse(misfit(error, spots), characters=characters)
            return
        if case.key in self._line_of_key:
            first = _number(self._line_of_key[case.key])
            self.refuse(_repeated(case.key, first, spots), characters=characters)
            return
        self._line_of_key[case.key] = line
        self._drafts.append(case)

    def refuse(self, refusal: ImportRefused, *, characters: int = 0) -> None:
        """Note what is wrong with a case of that many characters.

        Raises:
            ImportRefused: it was one too many.
        """
        self._refusals.append(refusal)
        self._bad_characters += characters
        if len(self._refusals) >= MAX_BAD_CASES or self._bad_characters > MAX_BAD_CHARACTERS:
            raise _together(self._refusals)

    def note(self, sentence: str) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes[sentence] = None

    def result(self) -> Parsed:
        """Return the cases.

        Raises:
            ImportRefused: one is bad, or there is none.
        """
        if self._refusals:
            raise _together(self._refusals)
        if not self._drafts:
            raise ImportRefused("There is no case in this file.", line=1, column=1)
        return Parsed(self._drafts, tuple(self._notes))

    def _free(self, key: str) -> str:
        number, free = 1, key
        while free in self._line_of_key:
            number += 1
            free = f"{key}-{number}"
        return free


def text_of(content: bytes | str) -> str:
    """Return the text of a file, without its byte order mark.

    Raises:
        ImportRefused: it is too large, not UTF-8, or has characters that cannot be stored.
    """
    if len(content) > MAX_BYTES:
        complaint = f"A file has at most {MAX_BYTES // 1024 // 1024} MiB; import it in parts."
        raise ImportRefused(complaint, line=1, column=1)
    text = (_decoded(content) if isinstance(content, bytes) else content).removeprefix("\ufeff")
    bad = _UNSTORABLE.search(text) if unstorable(text) else None
    if bad:
        raise refusal_at(text, bad.start(), UNSTORABLE)
    return text


def refusal_at(text: str, position: int, complaint: str) -> ImportRefused:
    line, column = place(text, position)
    return ImportRefused(complaint, line=line, column=column)


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode().removeprefix("\ufeff")
        complaint = "This is not UTF-8. Save the file as UTF-8 and import it again."
        raise refusal_at(before, len(before), complaint) from None


def misfit(error: Invalid, spots: Spots) -> ImportRefused:
    """Return the refusal of what is no case, with the place of every bad field."""
    found = spots(error.details)
    placed = sorted(
        (found[path], sentence)
        for path, sentences in error.details.items()
        for sentence in sentences
    )
    details: dict[str, list[str]] = {}
    for spot, sentence in placed:
        name = f", {spot.name}" if spot.name else ""
        details.setdefault(f"line {spot.line}", []).append(
            f"Column {spot.column}{name}: {sentence}"
        )
    spot, sentence = placed[0]
    complaint = f"{spot.name}: {sentence}" if spot.name else sentence
    return ImportRefused(complaint, line=spot.line, column=spot.column, details=details)


def _number(line: Line) -> int:
    return line if isinstance(line, int) else line()


def _repeated(key: str, first: int, spots: Spots) -> ImportRefused:
    spot = spots(["key"])["key"]
    complaint = (
        f"The key {clipped(key)} is on line {first} already; each case has a key of its own."
    )
    return ImportRefused(complaint, line=spot.line, column=spot.column)


def _together(refusals: list[ImportRefused]) -> ImportRefused:
    first = refusals[0]
    details: dict[str, list[str]] = {}
    for refusal in refusals:
        for line, found in refusal.details.items():
            details.setdefault(line, []).extend(found)
    return ImportRefused(first.complaint, line=first.line, column=first.column, details=details)
