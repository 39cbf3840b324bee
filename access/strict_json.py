"""JSON from strangers: bounded, strict, and fast. Knows nothing of requests, cases or files.

The standard library's C scanner does the parsing. What it lets through is refused here: deep
nesting, keys that occur twice, NaN and Infinity, numbers without end, and text that PostgreSQL
cannot store.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Never

from access import json_places
from access.errors import Invalid

# Deeper than any case, trace or configuration that people write, far below the interpreter's stack.
MAX_DEPTH = 32
# The default for a caller that names no limit of its own; the API's body limits are settings.
MAX_BYTES = 16 * 1024 * 1024
# Python turns decimal digits into an int in quadratic time; nobody counts to 10 ** 1000.
MAX_INTEGER_DIGITS = 1000

_BITS_PER_DIGIT = math.log2(10)
UNSTORABLE = "The character NUL and halves of surrogate pairs are not accepted."
# Aliases of YAML make a small text a value of billions of members; no case comes near this.
MAX_VALUES = 1_000_000

# A number of fewer digits, with an exponent of at most two digits, is finite and cheap to read.
_HARMLESS_DIGITS = 200
_BOM = b"\xef\xbb\xbf"

# Possessive and with an optional end, so that an unterminated string is passed over in linear time.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BIG_EXPONENT = re.compile(rb"[eE]\+?[0-9]{3}")
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ZEROS = bytes(b"0"[0] if byte in b"0123456789" else b" "[0] for byte in range(256))

# Everything up to the first escape of NUL or of half a surrogate pair.
_SUSPECT_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_GOOD_ESCAPES = re.compile(
    r"(?:[^\\]++"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u(?!0000|[dD][89a-fA-F])"
    r"|\\[^u])*+",
    re.DOTALL,
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Malformed(Invalid):
    """The text is no JSON that is accepted here. Correct it at `line` and `column`, both from 1.

    `complaint` is the sentence without the place. Columns count characters, not bytes.
    """

    def __init__(self, complaint: str, *, line: int = 1, column: int = 1) -> None:
        super().__init__(f"Line {line}, column {column}: {complaint}")
        self.complaint = complaint
        self.line = line
        self.column = column


class Oversized(Malformed):
    """The text is longer than its limit. Send less at a time."""

    status_code = 413
    type = "payload_too_large"


class _FlawError(Exception):
    """What a hook of the scanner found; hooks are not told where they are in the text."""

    def __init__(self, complaint: str, position: Callable[[str], int]) -> None:
        super().__init__(complaint)
        self.complaint = complaint
        self.position = position


def loads(data: bytes | str, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_BYTES) -> object:
    """Return the value that `data` spells: UTF-8 bytes or text, with or without a byte order mark.

    `max_depth` counts arrays and objects inside each other; a scalar has depth 0.

    Raises:
        Malformed: not JSON, or JSON that is refused; it names the line and the column.
        Oversized: more than `max_bytes`; a kind of Malformed.
    """
    raw = _encoded(data)
    if len(raw) > max_bytes:
        raise Oversized(f"The text is larger than {max_bytes:,} bytes.")
    raw = raw.removeprefix(_BOM)
    text = _decoded(raw)
    skeleton = _STRINGS.sub(b"", raw)
    if _is_deeper(skeleton, max_depth):
        _refuse_depth(text, max_depth)
    decoder = _CAREFUL if _has_suspect_number(skeleton) else _FAST
    try:
        value: object = decoder.decode(text)
    except _FlawError as flaw:
        raise _malformed(flaw.complaint, text, flaw.position(text)) from None
    except json.JSONDecodeError as error:
        raise Malformed(_in_words(error), line=error.lineno, column=error.colno) from None
    if _SUSPECT_ESCAPE.search(text):
        _refuse_unstorable_escapes(text)
    return value


def unstorable(text: str) -> bool:
    """Return whether PostgreSQL would refuse `text`: it holds NUL or half of a surrogate pair."""
    # Almost all text is ASCII or can be encoded, and both are found out at the speed of C.
    if text.isascii():
        return "\x00" in text
    return _UNSTORABLE.search(text) is not None


def flaw(value: object, *, max_depth: int = MAX_DEPTH) -> str | None:
    """Return why `value` is not strict JSON, as a sentence, or None where it is.

    For values that did not come through `loads`: a form, another format, a caller in Python.
    """
    level, seen = [value], 0
    for depth in range(max_depth + 2):
        seen += len(level)
        if seen > MAX_VALUES:
            return f"More than {MAX_VALUES:,} values inside each other."
        complaint = next(filter(None, map(_own_flaw, level)), None)
        containers = [item for item in level if isinstance(item, dict | list)]
        if complaint or not containers:
            return complaint
        if depth == max_depth:
            return f"Nested deeper than {max_depth} levels."
        level = [member for container in containers for member in _members(container)]
    return None


def _encoded(data: bytes | str) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return data.encode()
    except UnicodeEncodeError as error:
        raise _malformed("Half of a surrogate pair is no character.", data, error.start) from None


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        raise _malformed("This is not UTF-8.", before, len(before)) from None


def _in_words(error: json.JSONDecodeError) -> str:
    words = error.msg.removesuffix(" starting at").removesuffix(" at")
    return f"This is not JSON: {words[:1].lower()}{words[1:]}."


def _malformed(complaint: str, text: str, position: int) -> Malformed:
    line, column = json_places.place(text, position)
    return Malformed(complaint, line=line, column=column)


def _is_deeper(skeleton: bytes, max_depth: int) -> bool:
    """Return whether the brackets, whatever their kind, may nest deeper than `max_depth`.

    Each round takes out the innermost pairs, at the speed of C. Brackets without a partner stay, so
    True may also mean that the text is malformed: the slow look decides.
    """
    brackets = skeleton.translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _refuse_depth(text: str, max_depth: int) -> None:
    position = json_places.deeper_than(text, max_depth)
    if position is not None:
        raise _malformed(f"Nested deeper than {max_depth} levels.", text, position)


def _has_suspect_number(skeleton: bytes) -> bool:
    digits = skeleton.translate(_ZEROS)
    return b"0" * _HARMLESS_DIGITS in digits or _BIG_EXPONENT.search(skeleton) is not None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = json.dumps(max(counts, key=counts.__getitem__))[:80]
        raise _FlawError(f"The key {twice} occurs twice.", json_places.repeated_key)
    return value


def _no_constant(name: str) -> Never:
    raise _FlawError(f"{name} is not a JSON number.", lambda text: json_places.token(text, name))


def _bounded_int(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
        complaint = f"An integer has more than {MAX_INTEGER_DIGITS:,} digits."
        raise _FlawError(complaint, lambda text: json_places.token(text, digits))
    return int(digits)


def _finite_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        complaint = "A number is too large to be kept."
        raise _FlawError(complaint, lambda text: json_places.token(text, digits))
    return number


_FAST = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
# A hook for each number costs a call for each number, so only texts that may need it pay.
_CAREFUL = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_no_constant,
    parse_int=_bounded_int,
    parse_float=_finite_float,
)


def _refuse_unstorable_escapes(text: str) -> None:
    good = _GOOD_ESCAPES.match(text)
    end = good.end() if good else 0
    if end < len(text):
        raise _malformed(UNSTORABLE, text, end)


def _own_flaw(item: object) -> str | None:
    """Return what is wrong with `item` itself, whatever its members are."""
    complaint = None
    match item:
        case str() if unstorable(item):
            complaint = UNSTORABLE
        # bit_length instead of str(): the latter is what the limit protects from.
        case int() if item.bit_length() > MAX_INTEGER_DIGITS * _BITS_PER_DIGIT:
            complaint = f"An integer has more than {MAX_INTEGER_DIGITS:,} digits."
        case float() if not math.isfinite(item):
            complaint = "NaN and Infinity are not numbers that can be kept."
        case dict() if not all(isinstance(key, str) for key in item):
            complaint = "The keys of an object are text."
        case None | str() | int() | float() | dict() | list():
            pass
        case _:
            complaint = f"A {type(item).__name__} is not a JSON value."
    return complaint


def _members(container: dict[object, object] | list[object]) -> Iterator[object]:
    if isinstance(container, dict):
        yield from container
        yield from container.values()
    else:
        yield from container
