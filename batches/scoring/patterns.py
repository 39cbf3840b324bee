"""The assertion about a pattern in an answer, on an engine that never goes back.

RE2 takes time in proportion to text times pattern. Both are bounded, so that no pattern can hang
a worker: the worst one found takes about a second.
"""

import functools
from typing import Any

import re2

from access.errors import Invalid
from batches.scoring import fields
from batches.scoring.assertions import Answer, Assertion, Finding, Kind
from batches.scoring.complaints import clipped, shown

MAX_SEARCHED_CHARACTERS = 100_000
# Of a compiled pattern with its states: about 20,000 instructions.
_MAX_MEMORY_BYTES = 512 * 1024
_TOO_LONG = f"the output is longer than {MAX_SEARCHED_CHARACTERS:,} characters"


def regex(assertion: Assertion, answer: Answer) -> Finding:
    """Pass when the pattern is found anywhere in the answer. Source: RE2's syntax."""
    if len(answer.output) > MAX_SEARCHED_CHARACTERS:
        return Finding.unscored(_TOO_LONG)
    try:
        pattern = compiled(str(assertion.value))
    except Invalid as refusal:
        # Only a variable can have spoilt it: it was compiled when it was saved.
        return Finding.unscored(refusal.message.removesuffix("."))
    match = pattern.search(storable(answer.output))
    if match is None:
        return Finding.of(False, f"there is no match in {shown(answer.output)}")
    return Finding.of(True, f"found {shown(match[0])}")


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """Return the pattern, ready to search texts.

    Raises:
        Invalid: it is none, is too large, or looks around or back, which takes unbounded time.
    """
    options = re2.Options()
    options.max_mem = _MAX_MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.compile(storable(pattern), options)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        why = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise Invalid(
            f"This is no pattern that RE2 accepts: {clipped(why)}. It knows no look-around, "
            "no back-references and no huge repetitions."
        ) from None


def storable(text: str) -> str:
    """Return `text` without the lone surrogates, which have no UTF-8 for the engine to read."""
    return text.encode("utf-8", "replace").decode()


def pattern(raw: object) -> object:
    """Validate the value: a pattern, or a template for one."""
    text = fields.text(raw)
    if "{{" not in text:
        compiled(text)
    return text


KINDS = {"regex": Kind(regex, pattern, fields.share, slow=True)}
