"""Comparing JSON values with JSON Schemas from strangers: nothing is fetched, nothing takes long.

What jsonschema does is kept, except where its time has no bound: patterns run on RE2, uniqueItems
compares canonical texts, and before every look of a keyword at a value the time used so far is
checked. A schema whose branches refer to each other could otherwise double its work with every
level.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    ValidationError,
    validators,
)
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from access.errors import Invalid
from batches.scoring import fields, patience
from batches.scoring.complaints import clipped
from batches.scoring.patterns import TooMuch, compiled, search

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_DRAFTS: dict[str, Any] = {
    draft.META_SCHEMA["$schema"].rstrip("#"): draft
    for draft in (
        Draft4Validator,
        Draft6Validator,
        Draft7Validator,
        Draft201909Validator,
        Draft202012Validator,
    )
}


class Undecided(Exception):
    """Whether the value fits cannot be said; the text says why, as the end of a sentence."""


def check(schema: Mapping[str, object]) -> None:
    """Refuse a schema that is none, or that would fetch something or take unbounded time.

    Raises:
        Invalid: with a sentence.
    """
    base = _draft(schema)
    found = list(_objects(schema))
    for item in found:
        _check_object(item, top=item is schema)
    names = {name for item in found for name in item}
    if "patternProperties" in names and names & {"unevaluatedProperties", "unevaluatedItems"}:
        raise Invalid("patternProperties beside unevaluatedProperties is not supported.")
    try:
        base.check_schema(schema)
    except SchemaError as error:
        raise Invalid(
            f"This is not a JSON Schema: {clipped(error.message, 120)} at {error.json_path}."
        ) from None
    except RecursionError:
        raise Invalid("This JSON Schema is nested too deep.") from None
    _check_references(base, schema, found)


def misfit(schema: Mapping[str, object], values: Iterable[object]) -> str | None:
    """Return None where one of `values` fits the checked `schema`, else why the last one does not.

    The answer is a piece of a sentence; it is also None where there are no values.

    Raises:
        Undecided: it would take too long, or the schema refers to itself without end.
    """
    base = _LIMITED[_draft(schema)]
    # Left in, it would make a reference to the whole schema choose jsonschema's own checks.
    plain = {name: part for name, part in schema.items() if name != "$schema"}
    validator = base(plain, registry=Registry())
    error = None
    try:
        with patience.limited():
            for value in values:
                error = next(validator.iter_errors(value), None)
                if error is None:
                    return None
    except patience.OutOfTime:
        raise Undecided("comparing it with the schema takes too long") from None
    except TooMuch as reason:
        raise Undecided(str(reason)) from None
    except (RecursionError, Unresolvable):
        raise Undecided("the schema refers to itself without end, or to nothing") from None
    except ArithmeticError:
        raise Undecided("a number is too large to be compared with the schema") from None
    return None if error is None else f"at {error.json_path}, {clipped(error.message, 120)}"


def _draft(schema: Mapping[str, object]) -> Any:
    wanted = schema.get("$schema")
    if wanted is None:
        return Draft202012Validator
    base = _DRAFTS.get(wanted.rstrip("#")) if isinstance(wanted, str) else None
    if base is None:
        raise Invalid(f"$schema must be one of {', '.join(_DRAFTS)}.")
    return base


def _check_object(item: Mapping[str, object], *, top: bool) -> None:
    for name in _REFERENCES:
        target = item.get(name)
        if isinstance(target, str) and not target.startswith("#"):
            raise Invalid(
                f"{name} {clipped(target)} is not followed. Only references within the schema "
                "are, like #/$defs/name."
            )
    if isinstance(item.get("$schema"), str) and not top:
        raise Invalid("$schema stands at the top of a schema only.")
    # A property may be called so as well; then a schema follows and no text.
    if isinstance(item.get("pattern"), str):
        compiled(str(item["pattern"]))
    properties = item.get("patternProperties")
    if isinstance(properties, dict):
        for name in properties:
            compiled(name)


def _check_references(
    base: Any, schema: Mapping[str, object], found: list[Mapping[str, object]]
) -> None:
    """Refuse references to nothing; with an `$id` inside they are relative, and left to scoring."""
    if any(isinstance(item.get("$id"), str) for item in found):
        return
    resolver = base(schema, registry=Registry())._resolver
    for item in found:
        target = item.get("$ref")
        if isinstance(target, str):
            try:
                resolver.lookup(target)
            except Unresolvable:
                raise Invalid(f"$ref {clipped(target)} leads to nothing in the schema.") from None


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    """Yield every object in the JSON value, itself first."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _objects(item)


Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


def _in_time(keyword: Keyword) -> Keyword:
    def check_in_time(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        patience.check()
        for error in keyword(validator, value, instance, schema) or ():
            patience.complained()
            yield error

    return check_in_time


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not search(pattern, instance):
        yield ValidationError(f"{clipped(instance)!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Any, instance: Any, _: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, part in patterns.items():
        for name, value in instance.items():
            patience.check()
            if search(pattern, name):
                yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, part: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for name, value in instance.items():
        patience.check()
        if name in known or any(search(pattern, name) for pattern in patterns):
            continue
        if part is False:
            yield ValidationError(f"{clipped(name)!r} is not among the allowed properties")
        else:
            yield from validator.descend(value, part, path=name)


def _unique_items(_: Any, wanted: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list):
        written = set()
        for item in instance:
            patience.check()
            written.add(json.dumps(fields.settled(item), sort_keys=True))
        if len(written) < len(instance):
            yield ValidationError("it holds an item twice")


_OWN: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
_LIMITED = {
    draft: validators.extend(
        draft,
        {name: _in_time(_OWN.get(name, keyword)) for name, keyword in draft.VALIDATORS.items()},
    )
    for draft in _DRAFTS.values()
}
