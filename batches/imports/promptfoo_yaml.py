"""promptfoo's configuration in YAML: prompts, tests, defaultTest, assertionTemplates. Pure."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from access.errors import Invalid
from batches.imports import files, promptfoo_prompts
from batches.imports.files import Gathering, ImportRefused, Options, Parsed
from batches.imports.located_yaml import Items, Place, Table, load
from batches.imports.promptfoo_cases import Test, runs_code
from batches.imports.promptfoo_prompts import Prompt
from batches.imports.promptfoo_tests import default_prompt, key_of
from batches.scoring.complaints import clipped

_READ = ("prompts", "tests", "defaultTest", "assertionTemplates")
# Parts of a configuration that would make other cases of the tests, or other scores.
_REFUSED = {
    "scenarios": "scenarios are not supported: write their tests out under tests.",
    "redteam": "redteam makes tests with a model; import the tests that it has made.",
}
_CODE = ("extensions", "nunjucksFilters")


@dataclass(frozen=True)
class _Config:
    prompts: list[Prompt]
    tests: Items
    default: Table
    templates: Table


def parse(text: str, options: Options) -> Parsed:
    """Return the cases of a configuration, or of a list of tests.

    Raises:
        ImportRefused: something is wrong, or would run code, or there is no case.
    """
    gathering = Gathering()
    value, at = load(text)
    config = _config(value, at, options, gathering)
    for raw, place in zip(config.tests, config.tests.places, strict=True):
        try:
            test = Test.of(raw, place, config.default, config.templates, gathering)
            for prompt, variables, key in _combinations(test, config):
                gathering.take(
                    test.case(prompt, variables),
                    place[0],
                    test.spots(prompt),
                    made_up_key=key,
                )
        except ImportRefused as refusal:
            gathering.refuse(refusal)
    return gathering.result()


def _config(value: object, at: Place, options: Options, gathering: Gathering) -> _Config:
    empty = Table(at)
    given = [Prompt(options.prompt, None, at, "prompt-1")] if options.prompt else []
    if isinstance(value, Items):
        return _Config(given, value, empty, empty)
    if not isinstance(value, Table):
        raise _refusal(at, "This is no configuration of promptfoo, and no list of tests.")
    for name in value:
        _look_at(name, value.place(name), gathering)
    tests = value.get("tests")
    if not isinstance(tests, Items):
        raise _refusal(
            value.place("tests"),
            "The tests have to be here, as a list: other files and generators are not read.",
        )
    prompts = promptfoo_prompts.read(value, gathering) or given
    return _Config(
        prompts, tests, _table(value, "defaultTest"), _table(value, "assertionTemplates")
    )


def _look_at(name: str, place: Place, gathering: Gathering) -> None:
    if name in _CODE:
        raise _refusal(place, runs_code(name))
    if name in _REFUSED:
        raise _refusal(place, _REFUSED[name])
    if name not in _READ:
        gathering.note(f"Left out, as it is no part of a case: {clipped(name)}.")


def _table(value: Table, name: str) -> Table:
    found = value.get(name)
    if found is None:
        return Table(value.at)
    if not isinstance(found, Table):
        raise _refusal(value.place(name), f"{name} has to be here: another file is not read.")
    return found


def _combinations(
    test: Test, config: _Config
) -> Iterator[tuple[Prompt, Mapping[str, object], str]]:
    """Yield prompt, variables and key of each case of a test.

    A variable that is a list stands for its items; several lists for all their combinations.
    """
    lists = [value if isinstance(value, Items) else [value] for value in test.variables.values()]
    count = math.prod(map(len, lists)) * max(len(config.prompts), 1)
    if count > files.MAX_CASES:
        raise _refusal(test.at, f"This test stands for {count:,} cases; that is too many.")
    varied = any(len(values) != 1 for values in lists)
    for chosen in itertools.product(*lists):
        variables = test.flat(dict(zip(test.variables, chosen, strict=True)))
        key = key_of(test.description, variables, varied=varied)
        for prompt in config.prompts or [_default(test, variables)]:
            several = len(config.prompts) > 1
            yield prompt, variables, f"{key}:{prompt.name}" if several else key


def _default(test: Test, variables: Mapping[str, object]) -> Prompt:
    try:
        return Prompt(default_prompt(variables), None, test.at, "prompt-1")
    except Invalid as error:
        raise _refusal(test.at, error.message) from None


def _refusal(place: Place, complaint: str) -> ImportRefused:
    return ImportRefused(complaint, line=place[0], column=place[1])
