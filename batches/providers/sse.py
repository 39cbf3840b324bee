"""Reads server-sent events from bytes that arrive in any pieces. Knows nothing about models."""

import re
from collections.abc import Iterator

# A lone CR ends a line too, but only what follows tells it from the first half of a CRLF.
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")


class EventStream:
    """Collects bytes and hands out the data of each event that is complete.

    Pieces may end anywhere, inside a character or between CR and LF: only whole lines are decoded.
    Source: WHATWG HTML, 9.2.6 (fields other than `data` and comments are skipped).
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._data: list[str] = []
        self._first = True

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yield the data of every event that `piece` completes."""
        self._buffer += piece
        for line in self._lines():
            if line:
                self._take(line)
            elif self._data:
                yield self._flush()

    def close(self) -> Iterator[str]:
        """Yield the last event, where the stream ended without its empty line.

        The standard would drop it; servers that forget the last newline have sent all of it.
        """
        if self._buffer:
            self._take(self._decode(bytes(self._buffer.rstrip(b"\r"))))
            self._buffer.clear()
        if self._data:
            yield self._flush()

    def _lines(self) -> Iterator[str]:
        start = 0
        while end := _LINE_END.search(self._buffer, max(start, self._scanned)):
            yield self._decode(bytes(self._buffer[start : end.start()]))
            start = end.end()
        del self._buffer[:start]
        # A CR at the very end may be half of a CRLF: look at it again with the next piece.
        self._scanned = max(len(self._buffer) - 1, 0)

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))

    def _flush(self) -> str:
        data, self._data = "\n".join(self._data), []
        return data

    def _decode(self, line: bytes) -> str:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line.decode("utf-8", "replace")
