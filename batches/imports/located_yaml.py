"""YAML from strangers: bounded, without objects of any language, and every value with its place.

Parsed by PyYAML into events, and built here: scalars as YAML 1.2 and JSON know them (`yes` and
dates are texts), no tags but the core ones, one document. Aliases are counted as what they stand
for, so a small text cannot become a large value. Knows nothing of cases. Pure.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import yaml

from access.strict_json import MAX_DEPTH, MAX_VALUES
from batches.imports.files import ImportRefused, refusal_at
from batches.scoring.complaints import clipped

# About as long to parse as it takes to read the sentence that says it is too long.
MAX_CHARACTERS = 32 * 1024 * 1024
MAX_INTEGER_DIGITS = 300
_TOO_DEEP = f"Nested deeper than {MAX_DEPTH} levels."

# The parser in C makes the same events twenty times as fast, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_TYPES = ("str", "int", "float", "bool", "null", "map", "seq")
_TAGS = {None, "!", *(_CORE + name for name in _TYPES)}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

Place = tuple[int, int]


class Table(dict[str, object]):
    """A mapping, where it begins, and where each of its values does."""

    def __init__(self, at: Place) -> None:
        super().__init__()
        self.at = at
        self.places: dict[str, Place] = {}

    def place(self, name: str) -> Place:
        return self.places.get(name, self.at)


class Items(list[object]):
    """A sequence, where it begins, and where each of its items does."""

    def __init__(self, at: Place) -> None:
        super().__init__()
        self.at = at
        self.places: list[Place] = []


def load(text: str) -> tuple[object, Place]:
    """Return the value that the document spells, and where it begins.

    Raises:
        ImportRefused: it is no YAML, or YAML that is refused.
    """
    if len(text) > MAX_CHARACTERS:
        complaint = f"YAML has at most {MAX_CHARACTERS:,} characters here; import it in parts."
        raise ImportRefused(complaint, line=1, column=1)
    strange = _UNPRINTABLE.search(text)
    if strange:
        raise refusal_at(text, strange.start(), "YAML does not allow this control character.")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise _unparsed(error) from None
    except yaml.YAMLError as error:
        raise ImportRefused(f"This is not YAML: {clipped(error)}.", line=1, column=1) from None
    return builder.root


def plain(value: object) -> object:
    """Return the value as JSON knows it, without places."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True)
class _Finished:
    """A value with how many it holds and how deep, both with what aliases repeat."""

    value: object
    place: Place
    anchor: str | None
    values: int = 1
    depth: int = 0


@dataclass
class _Open:
    """A mapping or sequence that is being read, with what it holds so far."""

    value: Table | Items
    anchor: str | None
    key: str | None = None
    values: int = 1
    depth: int = 1
    merged: list[Table] = field(default_factory=list)


class _Builder:
    def __init__(self) -> None:
        self.root: tuple[object, Place] = (None, (1, 1))
        self._open: list[_Open] = []
        self._anchors: dict[str, _Finished] = {}
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._begin(event, Table(_place(event)))
            case yaml.SequenceStartEvent():
                self._begin(event, Items(_place(event)))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _refusal(event, "Only one document in a file.")

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = str(event.anchor)
        if name not in self._anchors:
            raise _refusal(event, f"There is no anchor {clipped(name)} before this.")
        found = self._anchors[name]
        self._put(event, replace(found, place=_place(event), anchor=None))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        _check_tag(event)
        holder = self._open[-1] if self._open else None
        if holder and isinstance(holder.value, Table) and holder.key is None:
            holder.key = event.value
            return
        as_text = event.tag in ("!", f"{_CORE}str") or (event.tag is None and not event.implicit[0])
        value = event.value if as_text else _resolved(event)
        self._put(event, _Finished(value, _place(event), event.anchor))

    def _begin(self, event: yaml.CollectionStartEvent, value: Table | Items) -> None:
        _check_tag(event)
        if len(self._open) == MAX_DEPTH:
            raise _refusal(event, _TOO_DEEP)
        if self._open and isinstance(self._open[-1].value, Table) and self._open[-1].key is None:
            raise _refusal(event, "A key is a text.")
        self._open.append(_Open(value, event.anchor))

    def _end(self, event: yaml.Event) -> None:
        done = self._open.pop()
        for table in done.merged:
            for name, value in table.items():
                if isinstance(done.value, Table) and name not in done.value:
                    done.value[name] = value
                    done.value.places[name] = table.place(name)
        finished = _Finished(done.value, done.value.at, done.anchor, done.values, done.depth)
        self._put(event, finished)

    def _put(self, event: yaml.Event, done: _Finished) -> None:
        """Put a finished value where it belongs."""
        if done.anchor:
            self._anchors[done.anchor] = done
        if not self._open:
            self.root = (done.value, done.place)
            return
        if len(self._open) + done.depth > MAX_DEPTH:
            raise _refusal(event, _TOO_DEEP)
        holder = self._open[-1]
        holder.depth = max(holder.depth, done.depth + 1)
        holder.values += done.values
        if holder.values > MAX_VALUES:
            raise _refusal(event, f"More than {MAX_VALUES:,} values, counting what aliases repeat.")
        if isinstance(holder.value, Items):
            holder.value.append(done.value)
            holder.value.places.append(done.place)
        else:
            self._set(event, holder, holder.value, done)

    def _set(self, event: yaml.Event, holder: _Open, table: Table, done: _Finished) -> None:
        key, holder.key = holder.key, None
        if key is None:
            raise _refusal(event, "A key is a text.")
        if key == "<<":
            holder.merged += _tables(event, done.value)
        elif key in table:
            line, column = done.place
            raise ImportRefused(f"The key {clipped(key)} occurs twice.", line=line, column=column)
        else:
            table[key] = done.value
            table.places[key] = done.place


def _tables(event: yaml.Event, value: object) -> Iterator[Table]:
    for table in value if isinstance(value, Items) else [value]:
        if not isinstance(table, Table):
            raise _refusal(event, "Only mappings can be merged with <<.")
        yield table


def _resolved(event: yaml.ScalarEvent) -> object:
    """Return what a scalar without quotes means in YAML 1.2's core schema."""
    text = event.value
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_INTEGER_DIGITS:
            raise _refusal(event, f"An integer has more than {MAX_INTEGER_DIGITS} digits.")
        return int(text)
    if _OTHER_BASE.fullmatch(text) and len(text) <= MAX_INTEGER_DIGITS:
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _check_tag(event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
    if event.tag not in _TAGS:
        name = clipped(str(event.tag).replace(_CORE, "!!"))
        raise _refusal(event, f"The tag {name} is refused: it might run code, and none is needed.")


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    assert mark is not None  # every event has one
    return mark.line + 1, mark.column + 1


def _refusal(event: yaml.Event, complaint: str) -> ImportRefused:
    line, column = _place(event)
    return ImportRefused(complaint, line=line, column=column)


def _unparsed(error: yaml.MarkedYAMLError) -> ImportRefused:
    mark = error.problem_mark or error.context_mark
    complaint = f"This is not YAML: {clipped(error.problem or error.context, 200)}."
    if mark is None:
        return ImportRefused(complaint, line=1, column=1)
    return ImportRefused(complaint, line=mark.line + 1, column=mark.column + 1)
