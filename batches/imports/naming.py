"""Keys for cases whose format gives them none, and texts that are to be taken literally. Pure."""

import hashlib
import json
import re

MAX_SLUG_CHARACTERS = 60

_NOT_OF_KEYS = re.compile(r"[^A-Za-z0-9._:-]+")
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,120}")
_MARKS = ("{{", "{%", "{#")


def key_from(name: object) -> str:
    """Return `name`, a text or a number, as a key; empty where nothing of it can be in one.

    A name that had to be changed gets six digits of its hash, so that two names stay two keys.
    """
    text = str(name).strip()
    if _KEY.fullmatch(text):
        return text
    slug = _NOT_OF_KEYS.sub("-", text).strip("-")[:MAX_SLUG_CHARACTERS].strip("-")
    return f"{slug or 'case'}-{digest(text)[:6]}" if text else ""


def digest(value: object) -> str:
    """Return 64 hexadecimal digits that tell JSON values apart."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def literal(text: str, name: str, variables: dict[str, object]) -> str:
    """Return what a case holds so that models get `text` as it is, braces and all.

    Braces would be taken for a template; such a text becomes the variable `name`.
    """
    if not any(mark in text for mark in _MARKS):
        return text
    variables[name] = text
    return f"{{{{ {name} }}}}"
