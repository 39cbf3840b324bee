"""Which assertions there are, and why the others are refused."""

from access.errors import Invalid
from batches.scoring import (
    json_answers,
    numbers,
    overlaps,
    patterns,
    performance,
    rubrics,
    similarity,
    text,
)
from batches.scoring.assertions import NEGATION, Kind
from batches.scoring.complaints import clipped

# A new family of assertions is a module with a table of its own and a line here.
KINDS: dict[str, Kind] = {
    **text.KINDS,
    **patterns.KINDS,
    **json_answers.KINDS,
    **numbers.KINDS,
    **overlaps.KINDS,
    **similarity.KINDS,
    **rubrics.KINDS,
    **performance.KINDS,
}

# Whoever makes a batch has to know a model to ask for these.
ASKING = frozenset(name for name, kind_ in KINDS.items() if kind_.asks)
# promptfoo's names for assertions that run code of whoever wrote the suite, or hand the answer to
# a server of theirs. Written with a colon, code follows: `python: len(output) > 3`.
CODE = frozenset({"javascript", "python", "ruby", "fn", "eval", "file", "package"})
ELSEWHERE = frozenset({"webhook"})


def kind(type_: str) -> Kind:
    """Return the kind of assertion that `type_` names, with or without `not-`.

    Raises:
        Invalid: there is no such type, or it is refused; the sentence says why.
    """
    base = type_.removeprefix(NEGATION)
    found = KINDS.get(base)
    if found is None:
        raise Invalid(_why_not(base))
    return found


def _why_not(base: str) -> str:
    known = f"Known are {', '.join(KINDS)}, each also with {NEGATION} before it."
    family = base.partition(":")[0].strip().lower()
    name = clipped(base)
    if family in CODE:
        return f"{name} would run code, and evalsched runs no code from suites. {known}"
    if family in ELSEWHERE:
        return f"{name} would send answers to another server, which suites may not do. {known}"
    return f"There is no assertion {name}. {known}"
