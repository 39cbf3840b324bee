"""Sensitive values in a JSON object: shown as masks, and put back where a mask is sent again.

Pure: reads SECRET_KEY and nothing else. A value is sensitive by its key, at any depth, whatever
the key's case, `-` and `_`. It is masked whole, also where it is an object or a list.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.crypto import salted_hmac

from access.errors import Invalid

ALWAYS = ("api_key", "token", "password", "secret", "authorization")
# Where an object names further keys of its own.
NAMED = "sensitive"
STARS = "*" * 8
_DIGITS = 8
_MASK = re.compile(rf"\*{{8}}(?:[0-9a-f]{{{_DIGITS}}})?")


def masked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with a mask for each sensitive value: stars, and digits that tell it apart.

    The digits are a keyed digest of the value, so that a mask names its value wherever it stands.
    """
    shown: dict[str, Any] = _changed(
        parameters, lambda _, value, __: _mask(value), _names(parameters)
    )
    return shown


def restored(
    given: Mapping[str, Any], stored: Mapping[str, Any], *, path: str = ""
) -> dict[str, Any]:
    """Return `given` with the values of `stored` where it has their masks.

    A mask stands for a value under the key that the value has in `stored`, wherever in the object
    that is: under another key, or one that is not sensitive, the value might be shown.

    Raises:
        Invalid: a mask that stands for nothing there; its details name the places.
    """
    values = {(_plain(key), _mask(value)): value for key, value in _secrets(stored, _names(stored))}
    unknown: dict[str, list[str]] = {}

    def value_of(key: str, value: Any, place: str) -> Any:
        if not is_mask(value):
            return value
        found = values.get((_plain(key), value))
        if found is None:
            unknown[place] = ["This mask stands for no stored value. Give the value itself."]
        return found

    names = _names(given)
    whole: dict[str, Any] = _changed(given, value_of, names, path)
    for place in _masks_elsewhere(given, names, path):
        unknown[place] = ["A mask is kept under a sensitive key only. Give the value itself."]
    if unknown:
        place, (sentence,) = next(iter(unknown.items()))
        raise Invalid(f"{place}: {sentence}", unknown)
    return whole


def is_mask(value: object) -> bool:
    return isinstance(value, str) and _MASK.fullmatch(value) is not None


def any_in(parameters: Mapping[str, Any]) -> bool:
    """Return whether the object holds a sensitive value."""
    return any(True for _ in _secrets(parameters, _names(parameters)))


def kept_in(parameters: Mapping[str, Any]) -> bool:
    """Return whether the object holds a mask where a sensitive value may stand."""
    return any(is_mask(value) for _, value in _secrets(parameters, _names(parameters)))


def _names(parameters: Mapping[str, Any]) -> frozenset[str]:
    named = parameters.get(NAMED)
    further = named if isinstance(named, list) else []
    return frozenset(_plain(name) for name in (*ALWAYS, *further) if isinstance(name, str))


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").casefold()


def _is_secret(value: object) -> bool:
    """Return whether there is something to hide: nothing, true and false tell nobody anything."""
    return not (value is None or isinstance(value, bool) or value in ("", [], {}))


def _mask(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    digest = salted_hmac("evalsched.masks", text, algorithm="sha256").hexdigest()
    return STARS + digest[:_DIGITS]


def _changed(
    value: Any, change: Any, names: frozenset[str], path: str = "", *, top: bool = True
) -> Any:
    """Return a copy in which `change(key, value, place)` stands for each sensitive value."""
    if isinstance(value, Mapping):
        found = {}
        for key, inner in value.items():
            place = f"{path}.{key}" if path else key
            if _plain(key) in names and not (top and key == NAMED) and _is_secret(inner):
                found[key] = change(key, inner, place)
            else:
                found[key] = _changed(inner, change, names, place, top=False)
        return found
    if isinstance(value, list):
        return [
            _changed(inner, change, names, f"{path}[{index}]", top=False)
            for index, inner in enumerate(value)
        ]
    return value


def _secrets(parameters: Mapping[str, Any], names: frozenset[str]) -> Iterator[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    _changed(parameters, lambda key, value, _: found.append((key, value)), names)
    yield from found


def _masks_elsewhere(value: Any, names: frozenset[str], path: str) -> Iterator[str]:
    """Yield the places of masks under keys that are not sensitive."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if _plain(key) not in names:
                yield from _masks_elsewhere(inner, names, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _masks_elsewhere(inner, names, f"{path}[{index}]")
    elif is_mask(value):
        yield path
