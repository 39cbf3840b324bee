"""What the demonstration model knows, and what it gets wrong. The same prompt, the same answer."""

import hashlib
import json
import operator
import re
from collections.abc import Callable

# So that a suite has something to show. Which prompts are hit is up to their hash.
WRONG_SHARE = 0.15
FASTEST_MS, SLOWEST_MS = 60, 250

_CAPITALS = {
    "argentina": "Buenos Aires",
    "australia": "Canberra",
    "austria": "Vienna",
    "brazil": "Brasília",
    "canada": "Ottawa",
    "egypt": "Cairo",
    "finland": "Helsinki",
    "france": "Paris",
    "germany": "Berlin",
    "greece": "Athens",
    "india": "New Delhi",
    "italy": "Rome",
    "japan": "Tokyo",
    "kenya": "Nairobi",
    "norway": "Oslo",
    "peru": "Lima",
    "poland": "Warsaw",
    "portugal": "Lisbon",
    "spain": "Madrid",
    "switzerland": "Bern",
}
# The mistakes that people make, too: the largest city instead of the capital.
_WRONG_CAPITALS = {"australia": "Sydney", "brazil": "São Paulo", "canada": "Toronto"}
_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "plus": operator.add,
    "minus": operator.sub,
    "times": operator.mul,
}
_CAPITAL = re.compile(r"what is the capital of ([a-z ]+?)\?")
_ARITHMETIC = re.compile(r"what is (\d{1,9}) (plus|minus|times) (\d{1,9})\?")
_ECHO = re.compile(r"reply with exactly: (.+)", re.DOTALL | re.IGNORECASE)
_OBJECT = re.compile(r"answer in json: name (\w+), age (\d{1,3})\.?", re.IGNORECASE)


def answer_to(prompt: str) -> str:
    """Return the demonstration model's answer; a stated share of them is wrong."""
    prompt = prompt.strip()
    wrong = is_wrong(prompt)
    for know in (_capital, _arithmetic, _echo, _json):
        known = know(prompt, wrong=wrong)
        if known is not None:
            return known
    return (
        "I am a demonstration model. I know some capitals and a little arithmetic; "
        "please add an endpoint of your own to ask about anything else."
    )


def is_wrong(prompt: str) -> bool:
    """Whether `prompt` is one of those that the model gets wrong."""
    return _draw(prompt, "wrong") < WRONG_SHARE


def latency_ms(prompt: str) -> float:
    """Return how long the model takes over `prompt`."""
    return FASTEST_MS + (SLOWEST_MS - FASTEST_MS) * _draw(prompt, "latency")


def _draw(prompt: str, label: str) -> float:
    """Return a number in 0..1 that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{label}:{prompt.strip()}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _capital(prompt: str, *, wrong: bool) -> str | None:
    found = _CAPITAL.fullmatch(prompt.lower())
    if not found or found[1] not in _CAPITALS:
        return None
    country = found[1]
    city = _WRONG_CAPITALS.get(country, "Geneva") if wrong else _CAPITALS[country]
    return f"The capital of {country.title()} is {city}."


def _arithmetic(prompt: str, *, wrong: bool) -> str | None:
    found = _ARITHMETIC.fullmatch(prompt.lower())
    if not found:
        return None
    result = _OPERATIONS[found[2]](int(found[1]), int(found[3]))
    return str(result + 10 if wrong else result)


def _echo(prompt: str, *, wrong: bool) -> str | None:
    found = _ECHO.fullmatch(prompt)
    if not found:
        return None
    return f"Of course! Here it is: {found[1]}" if wrong else found[1]


def _json(prompt: str, *, wrong: bool) -> str | None:
    found = _OBJECT.fullmatch(prompt)
    if not found:
        return None
    text = json.dumps({"name": found[1], "age": int(found[2])})
    return f"Sure, as you asked: {text}" if wrong else text
