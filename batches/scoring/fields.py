"""Validating the values and thresholds that assertions take. Each returns what is kept."""

import hashlib
import json
import math
from decimal import Decimal, InvalidOperation

from access.errors import Invalid
from access.strict_json import flaw

# Room for a long reference answer; scoring looks at it once for every answer.
MAX_VALUE_CHARACTERS = 10_000
# A list of words to look for, not a dictionary.
MAX_LIST_ITEMS = 200
# A JSON value that an answer must equal is written by hand and compared whole.
MAX_VALUE_DEPTH = 16
# What every reader of JSON can hold as a double.
MAX_NUMBER = 1e300


def number(raw: object, *, least: float = -MAX_NUMBER, most: float = MAX_NUMBER) -> float:
    """Return `raw` if it is a finite number within the bounds, whole numbers as int."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise Invalid("This must be a number.")
    if not least <= raw <= most:  # false for NaN as well
        raise Invalid(f"This must be a number from {least:,g} to {most:,g}.")
    # 1.0 and 1 are the same number, in a hash and in a database that keeps numbers as decimals.
    return settled_number(raw)


def settled_number(value: float) -> float:
    """Return a whole float as the int that it is written as: 3 for 3.0, 10**100 for 1e100.

    PostgreSQL keeps numbers of jsonb as decimals and writes 1e100 with a hundred zeros and without
    a fraction; read back it is an int. Equal numbers have one form here, before and after that.
    """
    if isinstance(value, float) and value.is_integer():
        return int(Decimal(repr(value)))
    return value


def settled(value: object) -> object:
    """Return the JSON value with every number settled, so that equal values are written equally."""
    if isinstance(value, float):
        return settled_number(value)
    if isinstance(value, list):
        return [settled(item) for item in value]
    if isinstance(value, dict):
        return {key: settled(item) for key, item in value.items()}
    return value


def content_hash(value: object) -> str:
    """Return the SHA-256 (hexadecimal) of a JSON value, the same for values that are equal.

    It is taken over JSON with sorted keys, no spaces, UTF-8, and numbers settled.
    """
    canonical = json.dumps(
        settled(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def text(raw: object, *, most: int = MAX_VALUE_CHARACTERS) -> str:
    """Return `raw` as a text that is not empty: a text, or a number written out."""
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise Invalid("This must be a text or a number.")
    clean = raw if isinstance(raw, str) else str(number(raw))
    if not clean:
        raise Invalid("This must not be empty.")
    if len(clean) > most:
        raise Invalid(f"This is longer than {most:,} characters.")
    complaint = flaw(clean)
    if complaint:
        raise Invalid(complaint)
    return clean


def json_value(raw: object) -> object:
    """Return `raw` as `equals` compares it: scalars as text, objects and lists as JSON."""
    if raw is None:
        raise Invalid("A value is needed.")
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        # An answer may be expected to be empty; nothing else may.
        return text(raw) if raw else raw
    if not isinstance(raw, list | dict):
        return text(raw)
    complaint = flaw(raw, max_depth=MAX_VALUE_DEPTH)
    if complaint:
        raise Invalid(complaint)
    if characters(raw) > MAX_VALUE_CHARACTERS:
        raise Invalid(f"This is longer than {MAX_VALUE_CHARACTERS:,} characters.")
    return settled(raw)


def characters(value: object) -> int:
    """Return about how many characters the JSON value `value` takes, at most 1,000 a number."""
    if isinstance(value, dict):
        return sum(len(key) + 1 + characters(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(1 + characters(item) for item in value)
    return len(str(value))


def share(raw: object) -> float | None:
    """Return the threshold of a claim that holds (1) or not (0): more than 0, at most 1."""
    if raw is None:
        return None
    limit = number(raw, least=0, most=1)
    if not limit:
        raise Invalid("This must be more than 0: with 0 the assertion could not fail.")
    return limit


def characters_apart(raw: object) -> float | None:
    """Return the threshold of an edit distance: a whole number of characters."""
    if raw is None:
        return None
    limit = number(raw, least=0, most=MAX_VALUE_CHARACTERS)
    if not isinstance(limit, int):
        raise Invalid("This must be a whole number of characters.")
    return limit


def milliseconds(raw: object) -> float:
    """Return the threshold of a duration; it is needed."""
    if raw is None:
        raise Invalid("A threshold in milliseconds is needed.")
    return number(raw, least=0, most=86_400_000)


def usd(raw: object) -> Decimal:
    """Return the threshold of a price, given as a number or a decimal string; it is needed."""
    if raw is None:
        raise Invalid("A threshold in USD is needed.")
    sentence = "This must be an amount in USD from 0 to 1,000,000 with at most 12 decimals."
    if isinstance(raw, bool) or not isinstance(raw, str | int | float | Decimal):
        raise Invalid(sentence)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise Invalid(sentence)
    try:
        amount = Decimal(raw if isinstance(raw, int) else str(raw)[:40])
        settled_amount = amount.quantize(Decimal("1e-12")).normalize()
    except InvalidOperation:
        raise Invalid(sentence) from None
    if not amount.is_finite() or settled_amount != amount or not 0 <= amount <= 1_000_000:  # noqa: PLR2004
        raise Invalid(sentence)
    return abs(settled_amount)


def nothing(raw: object) -> None:
    """Refuse a value where the type takes none."""
    if raw is not None:
        raise Invalid("This type takes a threshold and no value.")
