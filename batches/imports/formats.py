"""The formats that suites come in, by name, and which of them a file seems to be. Pure."""

from collections.abc import Callable, Mapping
from pathlib import PurePath

from access.errors import Invalid
from access.strict_json import Malformed, loads
from batches.imports import csv_cases, inspect_samples, jsonl, openai_evals, promptfoo
from batches.imports.csv_cells import header_of
from batches.imports.files import Options, Parsed, text_of

FORMATS: Mapping[str, Callable[[bytes | str, Options | None], Parsed]] = {
    "jsonl": jsonl.parse,
    "csv": csv_cases.parse,
    "promptfoo": promptfoo.parse,
    "openai-evals": openai_evals.parse,
    "inspect": inspect_samples.parse,
}
SCORERS = ("match", "includes", "exact")


def parse(
    content: bytes | str, *, format_: str = "", name: str = "", options: Options | None = None
) -> Parsed:
    """Return the cases of a file in the format `format_`, or the one that it seems to have.

    Raises:
        ImportRefused: something is wrong; it says at which line and column.
        Invalid: there is no such format or scorer, or which format it is cannot be told.
    """
    text = text_of(content)
    found = FORMATS.get(format_ or guessed(text, name))
    if found is None:
        raise Invalid.field("format", f"A format is one of {', '.join(FORMATS)}.")
    return found(text, options)


def guessed(text: str, name: str) -> str:
    """Return the format of a file called `name`.

    Raises:
        Invalid: it cannot be told.
    """
    match PurePath(name).suffix.lower():
        case ".yaml" | ".yml":
            return "promptfoo"
        case ".csv" | ".tsv":
            theirs = any(column.startswith("__") for column in header_of(text))
            return "promptfoo" if theirs else "csv"
        case ".jsonl" | ".ndjson" | ".json":
            return _of_json(text)
    raise Invalid.field(
        "format", f"The format cannot be told from the name. Say one of {', '.join(FORMATS)}."
    )


def _holds_cases(text: str) -> bool:
    """Return whether a JSON list begins with a case of the API, which has no `input`."""
    if len(text) > inspect_samples.MAX_LIST_CHARACTERS:
        return False
    try:
        items = loads(text)
    except Malformed:
        return False
    first = items[0] if isinstance(items, list) and items else None
    return isinstance(first, dict) and not {"prompt", "messages"}.isdisjoint(first)


def _of_json(text: str) -> str:
    start = text.lstrip()
    if start.startswith("["):
        return "jsonl" if _holds_cases(start) else "inspect"
    try:
        first = loads(start.partition("\n")[0])
    except Malformed:
        return "jsonl"
    fields = first if isinstance(first, dict) else {}
    if "ideal" in fields or "item" in fields:
        return "openai-evals"
    return "inspect" if "input" in fields else "jsonl"
