"""Assertions about JSON in an answer, with or without a JSON Schema."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Never

from access.errors import Invalid
from access.strict_json import Malformed, Oversized, flaw, loads
from batches.scoring import fields, patience, schemas
from batches.scoring.assertions import Answer, Assertion, Finding, Kind
from batches.scoring.complaints import clipped, shown

MAX_ANSWER_BYTES = 1024 * 1024
# Each level of a value takes two of its schema: `properties`, then the name.
MAX_SCHEMA_DEPTH = 32
# Characters that may be read in vain while looking for JSON in a text: tenths of a second.
_MOST_IN_VAIN = 5_000_000
# What a try costs that ends without saying where.
_UNKNOWN_COST = 10_000
_OPENING = re.compile(r"[{\[]")


def is_json(assertion: Assertion, answer: Answer) -> Finding:
    """Pass when the whole answer is strict JSON and, with a value, fits that JSON Schema."""
    try:
        value = loads(answer.output, max_bytes=MAX_ANSWER_BYTES)
    except Oversized:
        return _too_long()
    except Malformed as error:
        why = f"line {error.line}, column {error.column}: {error.complaint.removesuffix('.')}"
        return Finding.of(False, f"{clipped(why, 120)} in {shown(answer.output)}")
    if assertion.value is None:
        return Finding.of(True, f"the output is {shown(answer.output)}")
    return _fitting([value], assertion, answer)


def contains_json(assertion: Assertion, answer: Answer) -> Finding:
    """Pass when an object or array somewhere in the answer is JSON and fits the schema, if any."""
    if len(answer.output) > MAX_ANSWER_BYTES:
        return _too_long()
    values = values_in(answer.output)
    first = next(values, None)
    if first is None:
        return Finding.of(False, f"there is no JSON object or array in {shown(answer.output)}")
    if assertion.value is None:
        return Finding.of(True, f"found {shown(first)}")
    return _fitting(itertools.chain([first], values), assertion, answer)


def schema(raw: object) -> object:
    """Validate the value: nothing, or a JSON Schema as an object or as its text."""
    if raw is None or raw == "":
        return None
    parsed = loads(raw) if isinstance(raw, str) else raw
    if not isinstance(parsed, dict):
        raise Invalid("The value is a JSON Schema, which is an object, or nothing.")
    complaint = flaw(parsed, max_depth=MAX_SCHEMA_DEPTH)
    if complaint:
        raise Invalid(complaint)
    if fields.characters(parsed) > fields.MAX_VALUE_CHARACTERS:
        raise Invalid(f"This is longer than {fields.MAX_VALUE_CHARACTERS:,} characters.")
    kept = fields.settled(parsed)
    assert isinstance(kept, dict)
    if not _is_template(kept):
        schemas.check(kept)
    return kept


def values_in(text: str) -> Iterator[object]:
    """Yield the outermost JSON objects and arrays in `text`, from its start.

    Where nothing but more and more broken pieces comes, the search is given up. Raises OutOfTime.
    """
    in_vain = 0
    opening = _OPENING.search(text)
    while opening and in_vain < _MOST_IN_VAIN:
        patience.check()
        at = opening.start() + 1
        try:
            value, at = _STRICT.raw_decode(text, opening.start())
        except json.JSONDecodeError as error:
            in_vain += error.pos - at + 2
        except (ValueError, RecursionError):
            in_vain += _UNKNOWN_COST
        else:
            yield value
        opening = _OPENING.search(text, at)


def _fitting(values: Iterable[object], assertion: Assertion, answer: Answer) -> Finding:
    """Return whether one of the values fits the assertion's schema."""
    wanted = assertion.value
    assert isinstance(wanted, Mapping)  # validated when it was saved
    try:
        # Its variables may have made anything of it.
        schemas.check(wanted)
        misfit = schemas.misfit(wanted, values)
    except Invalid as refusal:
        return Finding.unscored(refusal.message.removesuffix("."))
    except schemas.Undecided as reason:
        return Finding.unscored(str(reason))
    if misfit is None:
        return Finding.of(True, f"the output is {shown(answer.output)}")
    return Finding.of(False, f"{misfit} of {shown(answer.output)}")


def _no_constant(name: str) -> Never:
    raise ValueError(name)


_STRICT = json.JSONDecoder(parse_constant=_no_constant)


def _is_template(value: object) -> bool:
    return "{{" in json.dumps(value)


def _too_long() -> Finding:
    return Finding.unscored(f"the output is longer than {MAX_ANSWER_BYTES:,} bytes")


KINDS = {
    "is-json": Kind(is_json, schema, fields.share, slow=True),
    "contains-json": Kind(contains_json, schema, fields.share, slow=True),
}
