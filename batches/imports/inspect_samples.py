"""Samples of Inspect: JSONL or a JSON list of `input`, `target`, `choices` and others. Pure.

Source: the dataset and scorer pages of Inspect's documentation. A sample does not say by which
scorer it is judged; `includes`, which ignores case, is taken where nothing else is asked for.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from string import ascii_uppercase

from access.errors import Invalid
from access.json_places import positions_of
from access.strict_json import Malformed, loads
from batches.imports import jsonl
from batches.imports.files import (
    Gathering,
    ImportRefused,
    Line,
    Options,
    Parsed,
    Spot,
    Spots,
    misfit,
    text_of,
)
from batches.imports.naming import key_from, literal
from batches.imports.samples import Sample, Scorer, scorer_of
from batches.scoring.complaints import clipped

# Where something is wrong in a list it is looked for through all of it, a million characters a
# second; lines are looked through one by one.
MAX_LIST_CHARACTERS = 8 * 1024 * 1024

SCORERS: Mapping[str, Scorer] = {
    "includes": Scorer("icontains", several="icontains-any"),
    "exact": Scorer("equals", end=r")\z"),
}
_FIELDS = ("input", "target", "choices", "id", "metadata")
_CODE = ("sandbox", "setup")
_NAMES = {
    "prompt": "input",
    "messages": "input",
    "variables": "input",
    "assertions": "target",
    "key": "id",
}


def parse(content: bytes | str, options: Options | None = None) -> Parsed:
    """Return the cases of a file: all of them, or none.

    Raises:
        ImportRefused: a sample is bad, or there are too many, or none.
        Invalid: there is no such scorer.
    """
    scorer = scorer_of(options or Options(), SCORERS, "includes")
    gathering = Gathering()
    for line, fields, spots, characters in _samples(text_of(content), gathering):
        try:
            sample = _sample(fields, scorer)
        except Invalid as error:
            gathering.refuse(misfit(error, spots), characters=characters)
            continue
        if "assertions" not in sample.raw:
            gathering.note("Samples without target become cases that are not scored.")
        gathering.take(
            sample.case(),
            line,
            sample.spots(spots),
            made_up_key="" if sample.raw.get("key") else sample.key(),
            characters=characters,
        )
    return gathering.result()


def _samples(
    text: str, gathering: Gathering
) -> Iterator[tuple[Line, Mapping[str, object], Spots, int]]:
    """Yield each sample: its line, its fields, where they stand, and how long a look takes."""
    if not text.lstrip().startswith("["):
        for line in jsonl.objects(text, gathering):
            yield line.number, line.value, line.spots, len(line.text)
        return
    if len(text) > MAX_LIST_CHARACTERS:
        complaint = "This JSON list is too long. Save it as JSONL, one sample a line."
        raise ImportRefused(complaint, line=1, column=1)
    try:
        items = loads(text)
    except Malformed as error:
        raise ImportRefused(error.complaint, line=error.line, column=error.column) from None
    assert isinstance(items, list)
    for index, item in enumerate(items):
        spots = _in_list(text, index)
        if isinstance(item, dict):
            yield partial(_line_of_id, spots), item, spots, len(text)
        else:
            wrong = Invalid.field("", "A sample is a JSON object.")
            gathering.refuse(misfit(wrong, spots), characters=len(text))


def _line_of_id(spots: Spots) -> int:
    return spots(["id"])["id"].line


def _in_list(text: str, index: int) -> Spots:
    def found(paths: Iterable[str]) -> dict[str, Spot]:
        there = {path: f"[{index}].{path}" if path else f"[{index}]" for path in paths}
        places = positions_of(text, there.values())
        return {path: Spot(*places[full], path) for path, full in there.items()}

    return found


def _sample(fields: Mapping[str, object], scorer: Scorer) -> Sample:
    for name in fields:
        if name not in _FIELDS and fields[name] is not None:
            raise Invalid.field(clipped(name), _why_not(name))
    sample = Sample(_NAMES)
    if fields.get("id") is not None:
        sample.raw["key"] = key_from(fields["id"])
    choices = fields.get("choices")
    if choices is not None and choices != []:
        _ask_choice(sample, fields, choices)
    else:
        sample.ask(fields.get("input"))
        if fields.get("target") not in (None, "", []):
            sample.expect(fields["target"], scorer)
    if fields.get("metadata") is not None:
        sample.raw["metadata"] = fields["metadata"]
    return sample


def _why_not(name: str) -> str:
    if name in _CODE:
        return f"{name} would run code, and evalsched runs no code from suites."
    return f"A sample here has no field {clipped(name)}. It has {', '.join(_FIELDS)}."


def _ask_choice(sample: Sample, fields: Mapping[str, object], choices: object) -> None:
    """Ask for a letter; as in Inspect, the target names the letters of what is right."""
    if (
        not isinstance(choices, list)
        or len(choices) > len(ascii_uppercase)
        or not all(isinstance(choice, str) for choice in choices)
    ):
        raise Invalid.field("choices", f"Choices are a list of 1 to {len(ascii_uppercase)} texts.")
    asked = fields.get("input")
    if not isinstance(asked, str):
        raise Invalid.field("input", "An input with choices is a text.")
    letters = ascii_uppercase[: len(choices)]
    listed = [f"{letter}) {choice}" for letter, choice in zip(letters, choices, strict=True)]
    how = (
        "End your answer with a line of the form ANSWER: LETTER, "
        f"where LETTER is one of {', '.join(letters)}."
    )
    text = "\n".join([asked, "", *listed, "", how])
    sample.raw["prompt"] = literal(text, "input", sample.variables)
    target = fields.get("target")
    if not isinstance(target, str) or len(target) != 1 or target.upper() not in letters:
        raise Invalid.field("target", f"With choices the target is one letter of {letters}.")
    sample.raw["assertions"] = [{"type": "regex", "value": _answering(target.upper())}]


def _answering(letter: str) -> str:
    """Return a pattern for answers whose last line of the form ANSWER: LETTER has that letter.

    Marks around the words and a repeated choice are let pass, as Inspect does. RE2 cannot look
    ahead, so that no other such line follows is spelt out letter by letter.
    """
    other = r"[^\w:\n]*(?:\w.*|)"
    for expected in reversed("NSWER"):
        other = rf"(?:{expected}{other}|[^{expected}\n].*|)"
    chosen = rf"^[^\w\n]*ANSWER[^\w:\n]*:\W*{letter}(?:[[:punct:]\s]*|[ \t]*[-).:(–].*)$"  # noqa: RUF001
    return rf"(?im){chosen}(?:\n[^\w\n]*(?:A{other}|[^A\W].*|)$)*\z"
