"""CSV: one case a row, in columns called like the fields of the API. Pure."""

from collections.abc import Callable, Iterable
from functools import partial

from access.errors import Invalid
from access.strict_json import Malformed, loads
from batches.imports.csv_cells import Row, rows
from batches.imports.files import Gathering, ImportRefused, Options, Parsed, Spot, misfit, text_of
from batches.scoring.complaints import clipped

_PROMPTFOO = "__"


def parse(content: bytes | str, options: Options | None = None) -> Parsed:
    """Return the cases of a table: all of them, or none.

    `key`, `prompt`, `expected`, `weight`, `threshold` and `cluster` are plain; `tags` is a comma
    list; `messages`, `assertions`, `variables` and `metadata` are JSON. Every other column is a
    variable of that name. An empty cell is nothing, or an empty variable.

    Raises:
        ImportRefused: a row is bad or ragged, or there are too many, or none.
    """
    gathering = Gathering()
    for number, row in enumerate(rows(text_of(content))):
        if not number:
            _look_at_columns(row, gathering)
        spots = partial(_spots, row)
        try:
            raw = _raw(row)
        except Invalid as error:
            gathering.refuse(misfit(error, spots))
        else:
            gathering.take(raw, row.line, spots)
    return gathering.result()


def _look_at_columns(row: Row, gathering: Gathering) -> None:
    variables = [name for name in row.cells if name not in _COLUMNS]
    theirs = next((name for name in variables if name.startswith(_PROMPTFOO)), None)
    if theirs:
        complaint = (
            f"{clipped(theirs)} is a column of promptfoo's. Import this with the format promptfoo."
        )
        raise ImportRefused(complaint, line=1, column=1)
    if variables:
        gathering.note(f"Columns that became variables: {', '.join(variables)[:200]}.")


def _raw(row: Row) -> dict[str, object]:
    raw: dict[str, object] = {}
    variables: dict[str, object] = {}
    for name, cell in row.cells.items():
        read = _COLUMNS.get(name)
        if read is None:
            variables[name] = cell
        elif cell.strip():
            raw[name] = _read(name, cell, read)
    given = raw.get("variables")
    if variables and (given is None or isinstance(given, dict)):
        raw["variables"] = variables | (given or {})
    cluster = raw.pop("cluster", None)
    metadata = raw.get("metadata", {})
    if cluster is not None and isinstance(metadata, dict):
        raw["metadata"] = metadata | {"cluster": cluster}
    return raw


def _read(name: str, cell: str, read: Callable[[str], object]) -> object:
    try:
        return read(cell)
    except Malformed as error:
        raise Invalid.field(name, error.complaint) from None
    except ValueError:
        raise Invalid.field(name, "This must be a number.") from None


def _text(cell: str) -> str:
    return cell


def _stripped(cell: str) -> str:
    return cell.strip()


def _tags(cell: str) -> list[str]:
    return [tag.strip() for tag in cell.split(",") if tag.strip()]


def _spots(row: Row, paths: Iterable[str]) -> dict[str, Spot]:
    """Find the cells of fields; what is in no cell is found at the beginning of the row."""
    found = {}
    for path in paths:
        column = _column(path)
        line, place = row.places.get(column, (row.line, 1))
        found[path] = Spot(line, place, path)
    return found


def _column(path: str) -> str:
    if path == "metadata.cluster":
        return "cluster"
    root, _, rest = path.partition(".")
    return rest if root == "variables" else root.partition("[")[0]


_COLUMNS: dict[str, Callable[[str], object]] = {
    "key": _stripped,
    "prompt": _text,
    "expected": _text,
    "tags": _tags,
    "weight": float,
    "threshold": float,
    "cluster": _stripped,
    "messages": loads,
    "assertions": loads,
    "variables": loads,
    "metadata": loads,
}
