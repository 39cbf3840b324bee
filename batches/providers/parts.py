"""Reads what the JSON of a strange server holds, and believes nothing of it."""

import json
from typing import Any

from batches.providers.text import clean

_MAX_TOKENS = 2**31 - 1  # more is nonsense, and would not fit its column
_MAX_NAME = 200


def json_object(text: str | bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def count(value: object) -> int | None:
    """Return a count of tokens, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MAX_TOKENS else None


def name(value: object) -> str:
    return clean(value)[:_MAX_NAME] if isinstance(value, str) else ""
