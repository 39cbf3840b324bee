"""The assertion about a pattern in an answer, on an engine that never goes back.

RE2 takes time in proportion to text times pattern. Their product is bounded, so that no pattern can
hang a worker: the worst one found takes about a second.
"""

import functools
from typing import Any

import re2

from access.errors import Invalid
from batches.scoring import fields
from batches.scoring.assertions import Answer, Assertion, Finding, Kind
from batches.scoring.complaints import clipped, shown

MAX_SEARCHED_CHARACTERS = 100_000
# For the states that RE2 makes while it searches: without room for them it takes the slow way.
_MAX_MEMORY_BYTES = 2 * 1024 * 1024
MAX_INSTRUCTIONS = 20_000
# Instructions times bytes. The slow way takes about 5 ns for each.
MAX_STEPS = 200_000_000
_TOO_LONG = f"the output is longer than {MAX_SEARCHED_CHARACTERS:,} characters"


def regex(assertion: Assertion, answer: Answer) -> Finding:
    """Pass when the pattern is found anywhere in the answer. Source: RE2's syntax."""
    if len(answer.output) > MAX_SEARCHED_CHARACTERS:
        return Finding.unscored(_TOO_LONG)
    try:
        match = search(str(assertion.value), answer.output)
    except Invalid as refusal:
        # Only a variable can have spoilt it: it was compiled when it was saved.
        return Finding.unscored(refusal.message.removesuffix("."))
    except TooMuch as reason:
        return Finding.unscored(str(reason))
    if match is None:
        return Finding.of(False, f"there is no match in {shown(answer.output)}")
    return Finding.of(True, f"found {shown(match[0])}")


class TooMuch(Exception):
    """Pattern and text together would take seconds; the text says so, as the end of a sentence."""


def search(pattern: str, text: str) -> Any:
    """Return the first match of the pattern in the text, None where there is none.

    Raises:
        Invalid: as `compiled`.
        TooMuch: the pattern is too large for a text of that length.
    """
    ready, sent = compiled(pattern), storable(text)
    if ready.programsize * len(sent.encode()) > MAX_STEPS:
        raise TooMuch("the pattern is too large to be searched for in so long a text")
    return ready.search(sent)


@functools.lru_cache(maxsize=64)
def compiled(pattern: str) -> Any:
    """Return the pattern, ready to search texts.

    Raises:
        Invalid: it is none, is too large, or looks around or back, which takes unbounded time.
    """
    options = re2.Options()
    options.max_mem = _MAX_MEMORY_BYTES
    options.log_errors = False
    # Only where the whole is matters, and RE2 finds that the fast way.
    options.never_capture = True
    try:
        found = re2.compile(storable(pattern), options)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        why = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise Invalid(
            f"This is no pattern that RE2 accepts: {clipped(why)}. It knows no look-around, "
            "no back-references and no huge repetitions."
        ) from None
    if found.programsize > MAX_INSTRUCTIONS:
        raise Invalid("This pattern is too large. Shorten its repetitions.")
    return found


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
