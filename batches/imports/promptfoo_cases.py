"""One test of a promptfoo configuration, with what it takes from defaultTest. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from access.errors import Invalid
from batches.imports.expected import refuse_files
from batches.imports.files import Gathering, ImportRefused, Spot, Spots
from batches.imports.located_yaml import Items, Place, Table, plain
from batches.imports.promptfoo_prompts import Prompt
from batches.imports.promptfoo_tests import check_variable
from batches.scoring.complaints import clipped

_FIELDS = ("description", "vars", "assert", "threshold", "metadata", "options")
_OPTIONS = ("prefix", "suffix", "disableVarExpansion", "disableDefaultAsserts")
_CODE = ("transform", "transformVars", "postprocess", "contextTransform", "assertScoringFunction")
# They would change what is asked or how it is judged, so they cannot be left out.
_UNSUPPORTED = ("rubricPrompt", "storeOutputAs", "providerOutput")
# What runs the test, and not what it is.
_LEFT_OUT = ("provider", "providers", "runSerially", "repeat", "id")
_TEMPLATE = "#/assertionTemplates/"


def runs_code(name: str) -> str:
    return f"{clipped(name)} would run code, and evalsched runs no code from suites."


@dataclass
class Test:
    """A test whose defaults are filled in. `variables` may hold Items that stand for several."""

    at: Place
    description: str
    variables: dict[str, object]
    assertions: list[tuple[Table, Place]]
    threshold: object
    metadata: dict[str, object]
    options: dict[str, object]
    places: dict[str, Place] = field(default_factory=dict)

    @classmethod
    def of(
        cls, raw: object, at: Place, default: Table, templates: Table, gathering: Gathering
    ) -> Self:
        """Return the test that `raw` spells.

        Raises:
            ImportRefused: it is none, or a part of it would run code or is elsewhere.
        """
        if not isinstance(raw, Table):
            raise _refusal(at, "A test is an object with vars and assert; no other file is read.")
        for part in (default, raw):
            _check_fields(part, gathering)
        options = _merged(default, raw, "options")
        _check_options(default, raw, gathering)
        inherited = [] if options.get("disableDefaultAsserts") is True else [default]
        places: dict[str, Place] = {}
        for part in (default, raw):
            places |= {name: part.place(name) for name in ("threshold", "metadata") if name in part}
            given = part.get("vars")
            if isinstance(given, Table):
                places |= {f"variables.{name}": place for name, place in given.places.items()}
        test = cls(
            at=at,
            description=_description(raw),
            variables=_merged(default, raw, "vars"),
            assertions=[
                found for part in (*inherited, raw) for found in _assertions(part, templates)
            ],
            threshold=raw.get("threshold", default.get("threshold")),
            metadata=_merged(default, raw, "metadata"),
            options=options,
            places=places,
        )
        test._check_variables()
        return test

    def case(self, prompt: Prompt, variables: Mapping[str, object]) -> dict[str, object]:
        metadata = {name: plain(value) for name, value in self.metadata.items()}
        if self.description:
            metadata = {"description": self.description} | metadata
        raw: dict[str, object] = {
            "variables": dict(variables),
            "assertions": [_assertion(table, place) for table, place in self.assertions],
            "threshold": self.threshold,
            "metadata": metadata,
        }
        prefix, suffix = self._affix("prefix"), self._affix("suffix")
        if prompt.messages is None:
            return raw | {"prompt": prefix + prompt.text + suffix}
        if prefix or suffix:
            raise _refusal(self.at, "A prefix or suffix cannot be put around a conversation.")
        return raw | {"messages": prompt.messages}

    def flat(self, variables: Mapping[str, object]) -> dict[str, object]:
        """Return scalars by name: what is inside of objects is called `user.name`.

        Raises:
            ImportRefused: a list is inside of an object.
        """
        return dict(self._flattened(variables.items(), ""))

    def spots(self, prompt: Prompt) -> Spots:
        """Return how to find the fields of the case of this test and `prompt`."""

        def found(paths: Iterable[str]) -> dict[str, Spot]:
            return {path: Spot(*self._place(path, prompt), path) for path in paths}

        return found

    def _place(self, path: str, prompt: Prompt) -> Place:
        if path.startswith(("prompt", "messages")):
            return prompt.at
        if path.startswith("assertions["):
            number, _, name = path.removeprefix("assertions[").partition("]")
            table, place = self.assertions[int(number)]
            root = name.removeprefix(".").partition(".")[0].partition("[")[0]
            return table.places.get(root, place)
        holder = path
        while holder and holder not in self.places:
            holder = holder.rpartition(".")[0]
        return self.places.get(holder, self.at)

    def _affix(self, name: str) -> str:
        given = self.options.get(name)
        return "" if given is None else str(given)

    def _check_variables(self) -> None:
        expands = self.options.get("disableVarExpansion") is not True
        for name, value in self.variables.items():
            if isinstance(value, Items) and not expands:
                raise self._about(name, "A variable that is a list cannot be filled in.")
            for item in value if isinstance(value, Items) else [value]:
                try:
                    check_variable(item)
                except Invalid as error:
                    raise self._about(name, error.message) from None

    def _flattened(
        self, items: Iterable[tuple[str, object]], holder: str
    ) -> Iterator[tuple[str, object]]:
        for name, value in items:
            full = f"{holder}.{name}" if holder else name
            if isinstance(value, Table):
                yield from self._flattened(value.items(), full)
            elif isinstance(value, Items):
                raise self._about(full, "A list inside of a variable is not supported.")
            else:
                # Nunjucks writes nothing for null.
                yield full, "" if value is None else value

    def _about(self, name: str, complaint: str) -> ImportRefused:
        place = self.places.get(f"variables.{name.partition('.')[0]}", self.at)
        return _refusal(place, f"vars.{clipped(name)}: {complaint}")


def _check_fields(part: Table, gathering: Gathering) -> None:
    for name in part:
        if name in _CODE:
            raise _refusal(part.place(name), runs_code(name))
        if name in _LEFT_OUT:
            gathering.note(f"Left out of tests: {name}.")
        elif name not in _FIELDS:
            complaint = f"{clipped(name)} is not supported. A test has {', '.join(_FIELDS)}."
            raise _refusal(part.place(name), complaint)


def _check_options(default: Table, raw: Table, gathering: Gathering) -> None:
    for part in (default, raw):
        options = part.get("options")
        for name in options if isinstance(options, Table) else ():
            place = options.place(name) if isinstance(options, Table) else part.at
            if name in _CODE:
                raise _refusal(place, runs_code(f"options.{name}"))
            if name in _UNSUPPORTED:
                raise _refusal(place, f"options.{name} is not supported. Take it out.")
            if name not in _OPTIONS:
                gathering.note(f"Left out of tests: options.{clipped(name)}.")


def _merged(default: Table, raw: Table, name: str) -> dict[str, object]:
    merged: dict[str, object] = {}
    for part in (default, raw):
        given = part.get(name)
        if isinstance(given, Table):
            merged |= given
        elif given is not None:
            complaint = f"{name} is an object with names and values: another file is not read."
            raise _refusal(part.place(name), complaint)
    return merged


def _description(raw: Table) -> str:
    given = raw.get("description")
    if isinstance(given, dict | list):
        raise _refusal(raw.place("description"), "A description is a text.")
    return "" if given is None else str(given).strip()[:1000]


def _assertions(part: Table, templates: Table) -> Iterator[tuple[Table, Place]]:
    given = part.get("assert")
    if given is None:
        return
    if not isinstance(given, Items):
        raise _refusal(part.place("assert"), "assert is a list of assertions.")
    for item, place in zip(given, given.places, strict=True):
        if not isinstance(item, Table):
            raise _refusal(place, "An assertion is an object with a type.")
        yield _template(item, templates) if "$ref" in item else item, place


def _template(item: Table, templates: Table) -> Table:
    """Return the assertion that `$ref` names, from assertionTemplates."""
    name = str(item["$ref"])
    found = templates.get(name.removeprefix(_TEMPLATE)) if name.startswith(_TEMPLATE) else None
    if not isinstance(found, Table):
        complaint = f"There is no {clipped(name)}. A $ref is {_TEMPLATE}NAME."
        raise _refusal(item.place("$ref"), complaint)
    return found


def _assertion(table: Table, place: Place) -> dict[str, object]:
    for value in _texts(table.get("value")):
        try:
            refuse_files(value)
        except Invalid as error:
            raise _refusal(table.places.get("value", place), error.message) from None
    return {name: plain(value) for name, value in table.items()}


def _texts(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else [value]


def _refusal(place: Place, complaint: str) -> ImportRefused:
    return ImportRefused(complaint, line=place[0], column=place[1])
