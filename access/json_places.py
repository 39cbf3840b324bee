"""Where things are in a JSON text, for messages about it. Slow, and so used only when refusing.

Positions are offsets into the text; lines and columns count characters from 1.
"""

import json
import re
from collections.abc import Iterable, Iterator

# Strings, marks, and whatever else stands together. The end of a string is optional and the
# quantifiers possessive, so that an unterminated string costs linear time.
_TOKEN = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
    r"|[\[\]{}:,]"
    r'|[^\s\[\]{}:,"]+',
    re.DOTALL,
)
_OPENING = ("{", "[")
_CLOSING = ("}", "]")


def place(text: str, position: int) -> tuple[int, int]:
    """Return the line and the column of `position`."""
    line_start = text.rfind("\n", 0, position) + 1
    return text.count("\n", 0, position) + 1, position - line_start + 1


def token(text: str, wanted: str) -> int:
    """Return where the number or word `wanted` first stands outside of strings, 0 if nowhere."""
    return next((found.start() for found in _TOKEN.finditer(text) if found[0] == wanted), 0)


def deeper_than(text: str, max_depth: int) -> int | None:
    """Return where a bracket opens inside `max_depth` others, None where none does."""
    depth = 0
    for found in _TOKEN.finditer(text):
        if found[0] in _OPENING:
            depth += 1
            if depth > max_depth:
                return found.start()
        elif found[0] in _CLOSING:
            depth -= 1
    return None


def repeated_key(text: str) -> int:
    """Return where a key starts that its object has had before, 0 where none does.

    The text is well-formed at least up to there.
    """
    holders: list[set[str]] = []
    last: re.Match[str] | None = None
    for found in _TOKEN.finditer(text):
        if found[0] in _OPENING:
            holders.append(set())
        elif found[0] in _CLOSING:
            holders.pop()
        elif found[0] == ":" and last is not None:
            key = json.loads(last[0])
            if key in holders[-1]:
                return last.start()
            holders[-1].add(key)
        last = found
    return 0


def positions_of(text: str, paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return line and column, from 1, of the value at each of `paths` in the JSON text `text`.

    A path is written as in the details of a refusal: `assertions[1].type`. Where there is no such
    value, a field that is missing for example, it is the place of what should hold it. One pass,
    however many paths.
    """
    ways = {path: list(_holders(path)) for path in paths}
    wanted = {where for way in ways.values() for where in way}
    starts = {where: start for where, start in _values(text) if where in wanted}
    return {
        path: place(text, next(starts[where] for where in reversed(way) if where in starts))
        for path, way in ways.items()
    }


def _holders(path: str) -> Iterator[str]:
    """Yield the paths of what holds the value at `path`, outermost first, and then its own."""
    yield ""
    for step in re.finditer(r"[.\[]", path):
        yield path[: step.start()]
    yield path


def _values(text: str) -> Iterator[tuple[str, int]]:
    """Yield the path and the start of every value in the well-formed JSON `text`."""
    holders: list[tuple[str, int | None]] = []
    here, last = "", ""
    expecting = True
    for found in _TOKEN.finditer(text):
        mark = found[0]
        if mark == ":":
            here = _joined(holders[-1][0], json.loads(last))
            expecting = True
        elif mark == ",":
            here, expecting = _after_comma(holders)
        elif mark in _CLOSING:
            holders.pop()
            expecting = False
        elif expecting:
            yield here, found.start()
            expecting = mark == "["
            if mark in _OPENING:
                holders.append((here, 0 if mark == "[" else None))
                here = f"{here}[0]"
        last = mark


def _after_comma(holders: list[tuple[str, int | None]]) -> tuple[str, bool]:
    holder, index = holders[-1]
    if index is None:
        return "", False
    holders[-1] = (holder, index + 1)
    return f"{holder}[{index + 1}]", True


def _joined(holder: str, key: str) -> str:
    return f"{holder}.{key}" if holder else key
