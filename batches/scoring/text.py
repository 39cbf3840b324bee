"""Assertions about the text of an answer: equality, parts of it, and edit distance.

Source: promptfoo's deterministic assertions, whose names and meaning these have.
"""

import json
import re

from rapidfuzz.distance import Levenshtein

from access.errors import Invalid
from access.strict_json import Malformed, loads
from batches.scoring import fields
from batches.scoring.assertions import Answer, Assertion, Finding, Kind
from batches.scoring.complaints import shown
from batches.scoring.templates import as_text

# An answer of 50,000 characters against a value of 10,000 takes about 10 ms; more is counted as
# that much further away, without a look.
MAX_COMPARED_CHARACTERS = 50_000
# promptfoo's, for whoever gives no threshold.
DEFAULT_DISTANCE = 5
# An answer that is to equal a JSON value is about as long as that value.
MAX_JSON_ANSWER_BYTES = 1024 * 1024

# Of a long list a reason names these many.
MAX_NAMED_PARTS = 3

# One entry of a comma list: in quotes, with those inside doubled or escaped, or up to a comma.
_ENTRY = re.compile(r'\s*(?:"((?:[^"\\]|""|\\.)*)"\s*(?:,|$)|([^,]*)(?:,|$))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])|"(")')


def equals(assertion: Assertion, answer: Answer) -> Finding:
    """Compare strictly: texts character by character, objects and lists as JSON.

    JSON is equal when it means the same: the order of keys and 1 or 1.0 do not matter, 1 and true
    differ. An answer that is no strict JSON equals no object.
    """
    expected, output = assertion.value, answer.output
    if isinstance(expected, list | dict):
        try:
            came = loads(output, max_bytes=MAX_JSON_ANSWER_BYTES)
        except Malformed:
            return Finding.of(False, f"the output is not JSON: {shown(output)}")
        return Finding.of(_canonical(came) == _canonical(expected), _the_output(output))
    wanted = str(expected)
    if assertion.trimmed:
        wanted, output = wanted.strip(), output.strip()
    return Finding.of(wanted == output, _the_output(output))


def contains(assertion: Assertion, answer: Answer) -> Finding:
    return Finding.of(str(assertion.value) in answer.output, _the_output(answer.output))


def icontains(assertion: Assertion, answer: Answer) -> Finding:
    """Look for the value without regard to case, in the sense of Unicode's case folding."""
    found = str(assertion.value).casefold() in answer.output.casefold()
    return Finding.of(found, _the_output(answer.output))


def starts_with(assertion: Assertion, answer: Answer) -> Finding:
    return Finding.of(answer.output.startswith(str(assertion.value)), _the_output(answer.output))


def contains_any(assertion: Assertion, answer: Answer) -> Finding:
    """Look for one of the texts; `icontains-any` without regard to case."""
    found, _ = _parted(assertion, answer)
    came = f"found {_listed(found)}" if found else f"none is in {shown(answer.output)}"
    return Finding.of(bool(found), came)


def contains_all(assertion: Assertion, answer: Answer) -> Finding:
    """Look for all of the texts; `icontains-all` without regard to case."""
    _, missing = _parted(assertion, answer)
    came = f"missing {_listed(missing)}" if missing else f"all are in {shown(answer.output)}"
    return Finding.of(not missing, came)


def levenshtein(assertion: Assertion, answer: Answer) -> Finding:
    """Pass within `threshold` edits; score 1 - distance / length of the longer text.

    What an output has beyond MAX_COMPARED_CHARACTERS counts as that many insertions, which is at
    least the true distance: such an output is too far away either way.
    """
    wanted = str(assertion.value)
    compared = answer.output[:MAX_COMPARED_CHARACTERS]
    distance = Levenshtein.distance(compared, wanted) + len(answer.output) - len(compared)
    longest = max(len(answer.output), len(wanted))
    limit = DEFAULT_DISTANCE if assertion.threshold is None else assertion.threshold
    score = 1 - distance / longest if longest else 1.0
    came = f"the distance is {distance:,}, the limit {limit}, from {shown(answer.output)}"
    return Finding(distance <= limit, max(score, 0.0), came)


def entries(value: object) -> list[str]:
    """Return the texts that a list, or a comma list with optional quotes, names; none is empty."""
    if isinstance(value, list):
        return [as_text(item) for item in value if item != ""]
    found = []
    for entry in _ENTRY.finditer(str(value)):
        quoted, plain = entry[1], entry[2]
        text = _ESCAPED.sub(r"\1\2", quoted) if quoted is not None else (plain or "").strip()
        if text:
            found.append(text)
    return found


def entries_value(raw: object) -> object:
    """Validate the value of contains-any and its like: a list of texts, or a comma list."""
    if isinstance(raw, list):
        if not 0 < len(raw) <= fields.MAX_LIST_ITEMS:
            raise Invalid(f"A list here has 1 to {fields.MAX_LIST_ITEMS} texts.")
        texts: list[object] = [fields.text(item) for item in raw]
        if fields.characters(texts) > fields.MAX_VALUE_CHARACTERS:
            raise Invalid(f"This is longer than {fields.MAX_VALUE_CHARACTERS:,} characters.")
        return texts
    text = fields.text(raw)
    if not 0 < len(entries(text)) <= fields.MAX_LIST_ITEMS:
        raise Invalid(f"A comma list here has 1 to {fields.MAX_LIST_ITEMS} texts.")
    return text


def any_text(raw: object) -> object:
    """Validate the value of levenshtein, which may also be empty."""
    return raw if raw == "" else fields.text(raw)


def _parted(assertion: Assertion, answer: Answer) -> tuple[list[str], list[str]]:
    """Return the texts of the value that are in the answer, and those that are not."""
    folded = assertion.base.startswith("i")
    output = answer.output.casefold() if folded else answer.output
    found: list[str] = []
    missing: list[str] = []
    for part in entries(assertion.value):
        holds = (part.casefold() if folded else part) in output
        (found if holds else missing).append(part)
    return found, missing


def _canonical(value: object) -> str:
    return json.dumps(fields.settled(value), sort_keys=True, separators=(",", ":"))


def _the_output(output: str) -> str:
    return f"the output is {shown(output)}"


def _listed(parts: list[str]) -> str:
    more = len(parts) - MAX_NAMED_PARTS
    named = ", ".join(map(shown, parts[:MAX_NAMED_PARTS]))
    return f"{named} and {more} more" if more > 0 else named


KINDS = {
    "equals": Kind(equals, fields.json_value, fields.share),
    "contains": Kind(contains, fields.text, fields.share),
    "icontains": Kind(icontains, fields.text, fields.share),
    "starts-with": Kind(starts_with, fields.text, fields.share),
    "contains-any": Kind(contains_any, entries_value, fields.share),
    "contains-all": Kind(contains_all, entries_value, fields.share),
    "icontains-any": Kind(contains_any, entries_value, fields.share),
    "icontains-all": Kind(contains_all, entries_value, fields.share),
    "levenshtein": Kind(levenshtein, any_text, fields.characters_apart),
}
