"""The prompts of a promptfoo configuration: texts, or conversations written as JSON. Pure."""

import re
from dataclasses import dataclass

from access.strict_json import Malformed, loads
from batches.imports.files import Gathering, ImportRefused
from batches.imports.located_yaml import Items, Place, Table
from batches.imports.naming import key_from
from batches.scoring.complaints import clipped

# A word with such an end is the name of a file, and code where it is executed.
_FILE = re.compile(
    r"\S+\.(?:txt|md|json|jsonl|ya?ml|csv|j2|(?P<code>py|rb|sh|exe|[cm]?[jt]s))(?::\w+)?"
)
_ELSEWHERE = re.compile(r"(?P<code>exec:)|[a-z]+://")


@dataclass(frozen=True)
class Prompt:
    """A template, or messages with templates in. `name` tells it from the others in keys."""

    text: str
    messages: list[object] | None
    at: Place
    name: str


def read(config: Table, gathering: Gathering) -> list[Prompt]:
    """Return the prompts of a configuration, none where it has none.

    Raises:
        ImportRefused: one is somewhere else, or would run code.
    """
    given = config.get("prompts")
    if given is None:
        return []
    at = config.place("prompts")
    found = [(given, at)]
    if isinstance(given, Items):
        found = list(zip(given, given.places, strict=True))
    prompts = [
        _prompt(item, place, number, gathering) for number, (item, place) in enumerate(found, 1)
    ]
    names: set[str] = set()
    for prompt in prompts:
        if prompt.name in names:
            complaint = f"Two prompts are called {prompt.name}; give each a label of its own."
            raise _refusal(prompt.at, complaint)
        names.add(prompt.name)
    return prompts


def _prompt(given: object, at: Place, number: int, gathering: Gathering) -> Prompt:
    name = f"prompt-{number}"
    if isinstance(given, Table):
        for field in given:
            if field in ("function", "transform"):
                complaint = f"{field} would run code, and evalsched runs no code from suites."
                raise _refusal(given.place(field), complaint)
            if field not in ("raw", "label", "id"):
                gathering.note(f"Left out of a prompt: {clipped(field)}.")
        name = key_from(given.get("label") or given.get("id") or name)[:40]
        where = next((field for field in ("raw", "id") if field in given), "raw")
        at, given = given.place(where), given.get(where)
    if not isinstance(given, str) or not given.strip():
        raise _refusal(at, "A prompt is a text, or an object with the text in raw.")
    _refuse_elsewhere(given.strip(), at)
    messages = _conversation(given)
    return Prompt("" if messages else given, messages, at, name)


def _refuse_elsewhere(text: str, at: Place) -> None:
    found = _FILE.fullmatch(text) or _ELSEWHERE.match(text)
    if found is None:
        return
    if found["code"]:
        raise _refusal(
            at, f"{clipped(text)} would run code, and evalsched runs no code from suites."
        )
    raise _refusal(at, f"{clipped(text)} is not in this file. Write the text of the prompt here.")


def _conversation(text: str) -> list[object] | None:
    """Return the messages that a prompt in JSON spells, None where it is just a text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = loads(text)
    except Malformed:
        return None
    if isinstance(found, list) and all(isinstance(item, dict) and "role" in item for item in found):
        return found or None
    return None


def _refusal(place: Place, complaint: str) -> ImportRefused:
    return ImportRefused(complaint, line=place[0], column=place[1])
