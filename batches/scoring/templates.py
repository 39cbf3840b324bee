"""Filling `{{ name }}` in prompts and in the values of assertions.

Only names, as promptfoo writes them: no filters, no expressions, no statements, one pass. What a
variable holds is never looked at again, so a text that must keep its braces comes in as a variable.
"""

import re
from collections.abc import Iterator, Mapping

from access.errors import Invalid
from batches.scoring.complaints import clipped
from batches.scoring.fields import settled_number

Scalar = str | int | float | bool

MAX_NAME_CHARACTERS = 64

# A brace inside means that this is text, such as code that is asked about, and no tag.
_TAG = re.compile(r"\{\{([^{}]*)\}\}|(\{%[^{}]*%\}|\{#[^{}]*#\})")
_NAME = re.compile(r"[^\W\d](?:[\w.\- ]*[\w.\-])?")


def as_text(value: Scalar) -> str:
    """Return `value` as a template writes it: true, false, 3 for 3.0, and text as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(settled_number(value))


def is_name(name: str) -> bool:
    """Return whether a variable may be called `name`: a letter, then also digits, blanks, `.-_`."""
    return len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name) is not None


def fill(text: str, variables: Mapping[str, Scalar]) -> str:
    """Return `text` with each `{{ name }}` replaced.

    Raises:
        Invalid: a name that `variables` lacks, or a tag that is more than a name.
    """
    if "{" not in text:
        return text
    return _TAG.sub(lambda tag: _replacement(tag, variables), text)


def fill_all(value: object, variables: Mapping[str, Scalar]) -> object:
    """Return the JSON value `value` with every text in it filled; the keys of objects stay."""
    if isinstance(value, str):
        return fill(value, variables)
    if isinstance(value, list):
        return [fill_all(item, variables) for item in value]
    if isinstance(value, dict):
        return {key: fill_all(item, variables) for key, item in value.items()}
    return value


def check(value: object) -> None:
    """Refuse tags in `value` that are more than a name; which names there are is not known here."""
    for text in _texts(value):
        for tag in _TAG.finditer(text):
            if tag[2] or not _NAME.fullmatch(tag[1].strip()):
                raise _refusal(tag)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _replacement(tag: re.Match[str], variables: Mapping[str, Scalar]) -> str:
    name = (tag[1] or "").strip()
    if not tag[2] and name in variables:
        return as_text(variables[name])
    if tag[2] or not _NAME.fullmatch(name):
        raise _refusal(tag)
    known = ", ".join(sorted(variables)[:10]) or "none"
    raise Invalid(f"The variable {clipped(name)} is not given. Given: {clipped(known, 200)}.")


def _refusal(tag: re.Match[str]) -> Invalid:
    return Invalid(
        f"{clipped(tag[0])} is not supported: a template holds names only, like {{{{ name }}}}. "
        "Give text that must keep its braces as a variable."
    )
