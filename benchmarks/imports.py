"""Files of cases becoming a suite, beside the bare parsing of as much JSON."""

import json
import time
from collections.abc import Callable, Iterator

from batches import suites
from batches.imports import formats, jsonl
from benchmarks.figures import Figure
from tests.factories import make_actor, make_suite

CASES = 50_000


def measure() -> list[Figure]:
    figures = []
    for name, content in files():
        format_ = name.partition(" ")[0]
        spent = cpu_seconds_of(lambda f=format_, c=content: formats.parse(c, format_=f))  # type: ignore[misc]
        figures.append(Figure(f"{CASES:,} cases read from {name}, CPU", spent, "s"))
    return [*figures, *stored()]


def stored() -> list[Figure]:
    content = dict(files())["jsonl"]
    actor = make_actor()
    suite = make_suite(actor, cases=0)
    lines = content.splitlines()
    floor = seconds_of(lambda: [json.loads(line) for line in lines])
    drafts = formats.parse(content, format_="jsonl").drafts
    first, again = (seconds_of(lambda: suites.put(actor, suite, drafts)) for _ in range(2))
    suite.refresh_from_db()
    exported = seconds_of(lambda: list(jsonl.dump(suites.exported(suite))))
    return [
        Figure(f"{CASES:,} cases: floor, their JSON parsed", floor, "s"),
        Figure("stored in a new suite", first, "s"),
        Figure("the same stored again, which changes nothing", again, "s"),
        Figure("exported", exported, "s"),
    ]


def files() -> Iterator[tuple[str, bytes]]:
    """Yield files of about 200 characters a case, by their formats."""
    filling = "Think before you answer. " * 4
    numbers = range(CASES)
    yield (
        "jsonl",
        "".join(
            json.dumps(
                {
                    "key": f"sum-{n}",
                    "prompt": f"{filling}What is {{{{ a }}}} + 2?",
                    "variables": {"a": n},
                    "assertions": [{"type": "numeric", "value": n + 2}],
                }
            )
            + "\n"
            for n in numbers
        ).encode(),
    )
    rows = "".join(f"sum-{n},{filling}What is {n} + 2?,{n + 2}\n" for n in numbers)
    yield "csv", f"key,prompt,expected\n{rows}".encode()
    rows = "".join(f"{n},sum {n},numeric: {n + 2}\n" for n in numbers)
    yield "promptfoo CSV", f"prompt,__description,__expected\n{rows}".encode()
    tests = "".join(
        f"  - description: sum {n}\n    vars: {{a: {n}}}\n    assert:\n"
        f"      - type: numeric\n        value: {n + 2}\n"
        for n in numbers
    )
    config = f"prompts: ['{filling}What is {{{{ a }}}} + 2?']\ntests:\n{tests}"
    yield "promptfoo YAML", config.encode()


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu_seconds_of(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
