"""promptfoo's tests in CSV: variables in columns, what is expected in `__expected`. Pure."""

import re
from collections.abc import Iterable, Mapping
from functools import partial

from access.errors import Invalid
from batches.imports import expected
from batches.imports.csv_cells import Row, rows
from batches.imports.files import Gathering, ImportRefused, Options, Parsed, Spot, misfit
from batches.imports.promptfoo_tests import check_variable, default_prompt, key_of
from batches.scoring.complaints import Complaints, clipped

_EXPECTED = re.compile(r"__expected(\d*)")
_CONFIG = re.compile(r"__config:__expected(\d*):(.+)")
_METADATA = re.compile(r"__metadata:([^\[\]]+)(\[\])?")
_PLAIN = ("__description", "__prefix", "__suffix", "__metric", "__threshold")
# A comma that belongs to a value has a backslash before it.
_LISTED = re.compile(r"((?:[^,\\]|\\.)*+)(?:,|$)", re.DOTALL)


def parse(text: str, options: Options) -> Parsed:
    """Return the cases of a table.

    The prompt is `options.prompt`, else the column `prompt`, else the only variable.

    Raises:
        ImportRefused: a row is bad or ragged, or there are too many, or none.
    """
    gathering = Gathering()
    prompt = ""
    for row in rows(text):
        prompt = prompt or _prompt(row, options)
        spots = partial(_spots, row)
        try:
            raw = _raw(row, prompt)
        except Invalid as error:
            gathering.refuse(misfit(error, spots))
        else:
            description = row.cells.get("__description", "")
            key = key_of(description, _variables(row))
            gathering.take(raw, row.line, spots, made_up_key=key)
    return gathering.result()


def _prompt(row: Row, options: Options) -> str:
    """Look at the columns, and return the prompt of all rows."""
    for name in row.cells:
        special = name in _PLAIN or any(
            pattern.fullmatch(name) for pattern in (_EXPECTED, _CONFIG, _METADATA)
        )
        if name.startswith("__") and not special:
            complaint = (
                f"The column {clipped(name)} is not supported. Special columns are __expected, "
                f"__expected1 and so on, {', '.join(_PLAIN)}, __metadata:NAME and "
                "__config:__expected:threshold."
            )
            raise ImportRefused(complaint, line=1, column=1)
    try:
        return options.prompt or default_prompt(_variables(row))
    except Invalid as error:
        raise ImportRefused(error.message, line=1, column=1) from None


def _variables(row: Row) -> dict[str, object]:
    return {name: cell for name, cell in row.cells.items() if not name.startswith("__")}


def _raw(row: Row, prompt: str) -> dict[str, object]:
    """Return the case of a row.

    Raises:
        Invalid: its details name the bad columns.
    """
    cells = row.cells
    complaints = Complaints()
    variables = _variables(row)
    for name, value in variables.items():
        with complaints.about(name):
            check_variable(value)
    raw: dict[str, object] = {
        "prompt": cells.get("__prefix", "") + prompt + cells.get("__suffix", ""),
        "variables": variables,
        "assertions": _assertions(cells, complaints),
    }
    with complaints.about("__threshold"):
        # promptfoo's own: 0 is none.
        raw["threshold"] = _number(cells.get("__threshold", "")) or None
    metadata = _metadata(cells)
    if metadata:
        raw["metadata"] = metadata
    complaints.refuse_any()
    return raw


def _assertions(cells: Mapping[str, str], complaints: Complaints) -> list[dict[str, object]]:
    found = []
    metric = cells.get("__metric", "").strip()
    for name, cell in cells.items():
        numbered = _EXPECTED.fullmatch(name)
        if numbered is None or not cell.strip():
            continue
        with complaints.about(name):
            given = expected.assertion(cell)
            if metric:
                given["metric"] = metric
            found.append(given | _configured(cells, numbered[1]))
    return found


def _configured(cells: Mapping[str, str], number: str) -> dict[str, object]:
    """Return what `__config` columns say of all assertions, or of the one with that number."""
    found: dict[str, object] = {}
    for name, cell in cells.items():
        config = _CONFIG.fullmatch(name)
        if config is None or not cell.strip() or config[1] not in ("", number or "1"):
            continue
        if config[2] != "threshold":
            raise Invalid(f"{clipped(name)}: only the threshold can be configured here.")
        found["threshold"] = _number(cell)
    return found


def _metadata(cells: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, cell in cells.items():
        named = _METADATA.fullmatch(name)
        if named and cell.strip():
            found[named[1]] = _listed(cell) if named[2] else cell
    description = cells.get("__description", "").strip()
    return ({"description": description} if description else {}) | found


def _listed(cell: str) -> list[str]:
    parts = [re.sub(r"\\(.)", r"\1", part).strip() for part in _LISTED.findall(cell)]
    return [part for part in parts if part]


def _number(cell: str) -> float | None:
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        raise Invalid("This must be a number.") from None


def _spots(row: Row, paths: Iterable[str]) -> dict[str, Spot]:
    columns = [name for name in row.cells if _EXPECTED.fullmatch(name) and row.cells[name].strip()]
    return {path: _spot(row, path, columns) for path in paths}


def _spot(row: Row, path: str, columns: list[str]) -> Spot:
    name, _, rest = path.partition(".")
    indexed = re.fullmatch(r"assertions\[(\d+)\]", name)
    if indexed:
        name = columns[int(indexed[1])]
    elif name == "variables":
        name = rest
    elif name == "metadata":
        name = f"__metadata:{rest}"
    elif name == "threshold":
        name = "__threshold"
    line, column = row.places.get(name) or row.places.get(path) or (row.line, 1)
    return Spot(line, column, name)
