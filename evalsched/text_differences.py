"""What was taken out of a text and what was put in, word by word. Pure."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel

Kind = Literal["same", "gone", "new"]

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
# Beyond this many words lines are compared instead, and beyond as many lines the whole texts.
_MOST_PARTS = 20_000


class Piece(NamedTuple):
    kind: Kind
    text: str


def pieces(old: str, new: str) -> list[Piece]:
    """Return the pieces of both texts in their order; without the `new` ones they are `old`."""
    before, after = _parts(old, new)
    found: list[Piece] = []
    gone = new_ = ""
    for step in Indel.opcodes(before, after):
        taken = "".join(before[step.src_start : step.src_end])
        if step.tag != "equal":
            gone += taken
            new_ += "".join(after[step.dest_start : step.dest_end])
            continue
        found += [Piece("gone", gone), Piece("new", new_), Piece("same", taken)]
        gone = new_ = ""
    found += [Piece("gone", gone), Piece("new", new_)]
    return [piece for piece in found if piece.text]


def _parts(old: str, new: str) -> tuple[Sequence[str], Sequence[str]]:
    for pattern in (_WORDS, _LINES):
        before, after = pattern.findall(old), pattern.findall(new)
        if max(len(before), len(after)) <= _MOST_PARTS:
            return before, after
    return [old], [new]
