"""promptfoo's `__expected` grammar: an assertion in a cell, such as `contains: Paris`. Pure.

Source: promptfoo's documentation of test cases in CSV. `type: value`, `type(threshold): value`,
`not-` before either; a text without a type is what the answer must equal.
"""

import re

from access.errors import Invalid
from access.strict_json import Malformed, loads
from batches.scoring import registry
from batches.scoring.assertions import NEGATION
from batches.scoring.complaints import clipped

# promptfoo's types: those that there are not here have to be refused, and are no text to equal.
_THEIRS = frozenset(
    {
        "agent-rubric", "answer-relevance", "bleu", "classifier", "contains-html",
        "contains-json", "contains-sql", "contains-xml", "context-faithfulness",
        "context-recall", "context-relevance", "conversation-relevance", "factuality",
        "finish-reason", "g-eval", "gleu", "guardrails",
        "is-html", "is-json", "is-refusal", "is-sql", "is-valid-function-call",
        "is-valid-openai-function-call", "is-valid-openai-tools-call", "is-xml",
        "llm-rubric", "max-score", "meteor", "model-graded-closedqa",
        "model-graded-factuality", "moderation", "perplexity", "perplexity-score", "pi",
        "regex", "rouge-n", "search-rubric", "select-best", "similar", "tool-call-f1",
        "trace-error-spans", "trace-span-count", "trace-span-duration", "word-count",
    }
)  # fmt: skip
_ALIASES = {"grade": "llm-rubric"}
_WITH_JSON = ("is-json", "contains-json")
# promptfoo's for a cell that names none; in YAML it is another.
_SIMILARITY = 0.8

_TYPED = re.compile(
    r"(?P<type>[a-z][a-z0-9-]*)(?:\((?P<threshold>[0-9]+(?:\.[0-9]+)?)\))?(?::(?P<value>.*))?",
    re.DOTALL,
)
_CODE_FILE = re.compile(r"file://.*\.(?:py|rb|[cm]?[jt]s)(?::\w+)?", re.DOTALL)


def assertion(cell: str) -> dict[str, object]:
    """Return the assertion that `cell`, which is not blank, spells.

    Raises:
        Invalid: it would run code, reads a file, or is of a type that there is not.
    """
    text = cell.strip()
    refuse_files(text)
    typed = _TYPED.fullmatch(text)
    type_ = typed["type"] if typed else ""
    base = type_.removeprefix(NEGATION)
    type_ = _ALIASES.get(base, base) if base == type_ else NEGATION + _ALIASES.get(base, base)
    if typed is None or not _is_type(base, has_value=typed["value"] is not None):
        return {"type": "equals", "value": text}
    registry.kind(type_)
    return _assertion(type_, typed)


def refuse_files(value: object) -> None:
    """Refuse a value that stands for a file, by what is in it.

    Raises:
        Invalid: it is one.
    """
    if not isinstance(value, str) or not value.startswith("file://"):
        return
    if _CODE_FILE.fullmatch(value):
        raise Invalid(f"{clipped(value)} would run code, and evalsched runs no code from suites.")
    raise Invalid(f"{clipped(value)} is another file, which an import does not read. Write it out.")


def _is_type(base: str, *, has_value: bool) -> bool:
    if base in registry.CODE or base in registry.ELSEWHERE:
        # `file` or `python` alone is a word that an answer may have to equal.
        return has_value
    return base in registry.KINDS or base in _ALIASES or base in _THEIRS


def _assertion(type_: str, typed: re.Match[str]) -> dict[str, object]:
    found: dict[str, object] = {"type": type_}
    value = (typed["value"] or "").strip()
    base = type_.removeprefix(NEGATION)
    if value:
        found["value"] = _schema(value) if base in _WITH_JSON else value
    if typed["threshold"]:
        found["threshold"] = _number(typed["threshold"])
    elif base == "similar":
        found["threshold"] = _SIMILARITY
    return found


def _number(text: str) -> float:
    return float(text) if "." in text else int(text[:300])


def _schema(value: str) -> object:
    """Return a JSON Schema; a text that is none is left to those who validate it."""
    try:
        return loads(value)
    except Malformed:
        return value
