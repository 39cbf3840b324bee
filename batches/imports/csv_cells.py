"""CSV by RFC 4180: rows whose cells know where they stand. Knows nothing of cases. Pure.

More is taken than the standard says (LF alone, a semicolon or a tab in place of the comma) where
it cannot be mistaken; ragged rows and stray quotes are refused, as a cell in the wrong column is
worse than none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from batches.imports.files import ImportRefused, refusal_at
from batches.scoring.complaints import clipped

# A table that people look at.
MAX_COLUMNS = 500

_QUOTED = re.compile(r'"((?:[^"]|"")*+)"')
_LINE_END = re.compile(r"\r?\n|\r")
# The first line that is not empty, and what of it stands in quotes.
_HEADER = re.compile(r"[\r\n]*+([^\r\n]++)")
_IN_QUOTES = re.compile(r'"(?:[^"]|"")*+"?')


@dataclass(frozen=True)
class Row:
    """The cells of a line by the names of their columns, and the columns they begin at, from 1."""

    line: int
    cells: dict[str, str]
    places: dict[str, tuple[int, int]]


def rows(text: str) -> Iterator[Row]:
    """Yield the rows below the header, which names the columns. Empty lines are skipped.

    Raises:
        ImportRefused: the table is malformed, or a row has more or fewer cells than the header.
    """
    reader = _Reader(text)
    header = next(reader, None)
    if header is None:
        raise ImportRefused("There is no header in this file.", line=1, column=1)
    names = _names(header)
    for cells in reader:
        if len(cells) != len(names):
            line, column, _ = cells[min(len(names), len(cells) - 1)]
            cell = "cell" if len(cells) == 1 else "cells"
            complaint = (
                f"This line has {len(cells)} {cell}, the header has {len(names)}. "
                "A cell that holds a delimiter or a line end stands in quotes."
            )
            raise ImportRefused(complaint, line=line, column=column)
        yield Row(
            cells[0][0],
            {name: text for name, (_, _, text) in zip(names, cells, strict=True)},
            {name: (line, column) for name, (line, column, _) in zip(names, cells, strict=True)},
        )


def header_of(text: str) -> list[str]:
    """Return the names in the first line, empty where it is no header of a table."""
    try:
        return [name.strip() for _, _, name in next(_Reader(text), [])]
    except ImportRefused:
        return []


def _names(header: list[tuple[int, int, str]]) -> list[str]:
    names: dict[str, None] = {}
    if len(header) > MAX_COLUMNS:
        line, column, _ = header[MAX_COLUMNS]
        raise ImportRefused(f"At most {MAX_COLUMNS} columns.", line=line, column=column)
    for line, column, text in header:
        name = text.strip()
        if not name:
            raise ImportRefused("A column has no name.", line=line, column=column)
        if name in names:
            complaint = f"There are two columns {clipped(name)}."
            raise ImportRefused(complaint, line=line, column=column)
        names[name] = None
    return list(names)


class _Reader:
    """Iterates over lines of cells: line, column, text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._line = 1
        self._line_start = 0
        self._delimiter = _delimiter(text)
        self._plain = re.compile(rf"[^{re.escape(self._delimiter)}\r\n]*+")

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> list[tuple[int, int, str]]:
        while self._position < len(self._text):
            cells = self._cells()
            if len(cells) > 1 or cells[0][2]:
                return cells
        raise StopIteration

    def _cells(self) -> list[tuple[int, int, str]]:
        """Read a line up to and with its end."""
        cells = []
        while True:
            place = self._line, self._position - self._line_start + 1
            cells.append((*place, self._cell()))
            if not self._text.startswith(self._delimiter, self._position):
                break
            self._position += 1
        end = _LINE_END.match(self._text, self._position)
        if end:
            self._position = self._line_start = end.end()
            self._line += 1
        return cells

    def _cell(self) -> str:
        if self._text.startswith('"', self._position):
            return self._quoted()
        found = self._plain.match(self._text, self._position)
        assert found is not None  # it also matches nothing
        quote = found[0].find('"')
        if quote >= 0:
            complaint = "A quote inside of a cell: put the cell in quotes, and double those in it."
            raise self._refusal(self._position + quote, complaint)
        self._position = found.end()
        return found[0]

    def _quoted(self) -> str:
        start = self._position
        found = _QUOTED.match(self._text, start)
        if found is None:
            raise self._refusal(start, "This quote is not closed.")
        self._position = found.end()
        follows = self._text[self._position : self._position + 1]
        if follows not in ("", "\r", "\n", self._delimiter):
            complaint = "Text after a closed quote: a quote inside of a cell is doubled."
            raise self._refusal(self._position, complaint)
        # One at a time: a cell may have millions of lines.
        for end in _LINE_END.finditer(self._text, start, self._position):
            self._line += 1
            self._line_start = end.end()
        return found[1].replace('""', '"')

    def _refusal(self, position: int, complaint: str) -> ImportRefused:
        if position >= self._line_start:
            column = position - self._line_start + 1
            return ImportRefused(complaint, line=self._line, column=column)
        return refusal_at(self._text, position, complaint)


def _delimiter(text: str) -> str:
    """Return what separates cells: the comma, unless the header has none and another mark.

    Both a semicolon and a tab, and no comma: it is not to be guessed, and so the comma.
    """
    header = _HEADER.match(text)
    bare = _IN_QUOTES.sub("", header[1]) if header else ""
    others = [mark for mark in (";", "\t") if mark in bare]
    return others[0] if "," not in bare and len(others) == 1 else ","
