"""Samples of OpenAI's evals: JSONL with `input` and `ideal`, as such or inside of an `item`. Pure.

Source: the formats that the repository openai/evals documents, and its class `Match`, which takes
an answer that begins with one of the ideals. Which class a sample is for it does not say itself.
"""

from collections.abc import Mapping

from access.errors import Invalid
from batches.imports import jsonl
from batches.imports.files import Gathering, Options, Parsed, misfit, text_of
from batches.imports.jsonl import Line
from batches.imports.samples import Sample, Scorer, scorer_of

SCORERS: Mapping[str, Scorer] = {
    "match": Scorer("starts-with"),
    "includes": Scorer("contains", several="contains-any"),
    "exact": Scorer("equals", end=r")\z"),
}
_NAMES = {
    "prompt": "input",
    "messages": "input",
    "variables": "input",
    "assertions": "ideal",
}


def parse(content: bytes | str, options: Options | None = None) -> Parsed:
    """Return the cases of a file: all of them, or none.

    Other fields of a sample are kept as metadata. A sample without `ideal` becomes a case that is
    not scored.

    Raises:
        ImportRefused: a line is bad, or there are too many, or none.
        Invalid: there is no such scorer.
    """
    scorer = scorer_of(options or Options(), SCORERS, "match")
    gathering = Gathering()
    for line in jsonl.objects(text_of(content), gathering):
        try:
            _take(line, scorer, gathering)
        except Invalid as error:
            gathering.refuse(misfit(error, line.spots), characters=len(line.text))
    return gathering.result()


def _take(line: Line, scorer: Scorer, gathering: Gathering) -> None:
    item = line.value.get("item")
    inner = isinstance(item, dict) and "input" not in line.value
    fields: Mapping[str, object] = item if inner and isinstance(item, dict) else line.value
    prefix = "item." if inner else ""
    if "input" not in fields:
        raise Invalid.field(
            f"{prefix}input", "A sample has an input: a text, or a list of messages."
        )
    sample = Sample({ours: prefix + theirs for ours, theirs in _NAMES.items()})
    sample.ask(fields["input"])
    if fields.get("ideal") in (None, []):
        gathering.note("Samples without ideal become cases that are not scored.")
    else:
        sample.expect(fields["ideal"], scorer)
    others = {name: value for name, value in fields.items() if name not in ("input", "ideal")}
    if others:
        sample.raw["metadata"] = others
        gathering.note(f"Kept as metadata: {', '.join(sorted(others))[:200]}.")
    gathering.take(
        sample.case(),
        line.number,
        sample.spots(line.spots),
        made_up_key=sample.key(),
        characters=len(line.text),
    )
