"""The demonstration suite: twenty cases that the demonstration model answers, seventeen rightly."""

from collections.abc import Mapping, Sequence
from typing import Any, Final


def _capital(country: str, *assertions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": f"capital-{country.lower()}",
        "prompt": f"What is the capital of {country}?",
        "assertions": list(assertions),
        "tags": ["geography"],
    }


def _arithmetic(key: str, sum_: str, result: int) -> dict[str, Any]:
    return {
        "key": key,
        "prompt": f"What is {sum_}?",
        "assertions": [{"type": "numeric", "value": result, "tolerance": 0}],
        "tags": ["arithmetic"],
    }


def _echo(key: str, text: str, *assertions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": key,
        "prompt": f"Reply with exactly: {text}",
        "expected": text,
        "assertions": list(assertions),
        "tags": ["instructions"],
    }


def _json(name: str, age: int) -> dict[str, Any]:
    text = f'{{"name": "{name}", "age": {age}}}'
    return {
        "key": f"json-{name.lower()}",
        "prompt": f"Answer in JSON: name {name}, age {age}",
        "expected": text,
        "assertions": [{"type": "equals", "value": text}],
        "tags": ["format"],
    }


CASES: Final[Sequence[Mapping[str, Any]]] = (
    _capital("France", {"type": "icontains", "value": "paris"}),
    _capital("Japan", {"type": "icontains", "value": "tokyo"}),
    _capital("Australia", {"type": "icontains", "value": "canberra"}),
    _capital("Brazil", {"type": "contains-any", "value": ["Brasília", "Brasilia"]}),
    _capital("India", {"type": "contains-any", "value": ["New Delhi", "Delhi"]}),
    _capital("Norway", {"type": "equals", "value": "The capital of Norway is Oslo."}),
    _capital("Egypt", {"type": "starts-with", "value": "The capital of Egypt is Cairo"}),
    _capital(
        "Spain", {"type": "levenshtein", "value": "The capital of Spain is Madrid", "threshold": 3}
    ),
    _capital(
        "Canada",
        {"type": "icontains", "value": "ottawa"},
        {"type": "latency", "threshold": 2000},
    ),
    _arithmetic("times-7-8", "7 times 8", 56),
    _arithmetic("times-9-9", "9 times 9", 81),
    _arithmetic("plus-12-30", "12 plus 30", 42),
    _arithmetic("plus-1000-24", "1000 plus 24", 1024),
    _arithmetic("minus-100-58", "100 minus 58", 42),
    _echo("echo-ok", "OK", {"type": "equals", "value": "OK"}),
    _echo("echo-fox", "The quick brown fox", {"type": "starts-with", "value": "The quick"}),
    _echo(
        "echo-greeting",
        "Good morning",
        {"type": "levenshtein", "value": "Good morning!", "threshold": 2},
    ),
    _echo("echo-answer", "42 is the answer", {"type": "equals", "value": "42 is the answer"}),
    _json("Ada", 36),
    _json("Alan", 41),
)
