"""Reading assertions as the API, an import or a row gives them."""

from collections.abc import Mapping, Sequence

from access.errors import Invalid
from batches.scoring import fields, registry, templates
from batches.scoring.assertions import Assertion
from batches.scoring.complaints import Complaints, clipped
from batches.scoring.templates import Scalar

# A case says what is right in a few claims; each is scored and stored with every answer.
MAX_ASSERTIONS = 50
# Metrics are names of columns and series.
MAX_METRIC_CHARACTERS = 64
# As long as any known type, and short enough to be quoted.
MAX_TYPE_CHARACTERS = 200
MAX_WEIGHT = 1000

# Longer runs of words hardly ever occur twice.
MAX_N = 9
# As long as the name of an endpoint.
MAX_PROVIDER_CHARACTERS = 200

_FIELDS = ("type", "value", "threshold", "tolerance", "n", "provider", "weight", "metric")
_CODE_FIELDS = frozenset({"transform", "contextTransform", "config"})


def parse(
    raw: object, *, path: str = "assertions", variables: Mapping[str, Scalar] | None = None
) -> tuple[Assertion, ...]:
    """Return the assertions that the list `raw` spells.

    Values are kept with their `{{ name }}` in; with `variables` those names are checked too.

    Raises:
        Invalid: its details name each bad field, such as `assertions[1].type`, with a sentence.
    """
    if isinstance(raw, str) or not isinstance(raw, Sequence):
        raise Invalid.field(path, "Assertions are a list of objects.")
    if len(raw) > MAX_ASSERTIONS:
        raise Invalid.field(path, f"At most {MAX_ASSERTIONS} assertions.")
    complaints = Complaints()
    parsed = [
        _assertion(item, complaints, f"{path}[{index}]", variables)
        for index, item in enumerate(raw)
    ]
    complaints.refuse_any()
    return tuple(assertion for assertion in parsed if assertion is not None)


def _assertion(
    raw: object,
    complaints: Complaints,
    path: str,
    variables: Mapping[str, Scalar] | None,
) -> Assertion | None:
    if not isinstance(raw, Mapping):
        complaints.add(path, "An assertion is an object with a type.")
        return None
    for name in raw:
        if name not in _FIELDS:
            complaints.add(f"{path}.{clipped(name)}", _unknown_field(name))
    kind = None
    with complaints.about(f"{path}.type"):
        type_ = _type(raw.get("type"))
        kind = registry.kind(type_)
    if kind is None:
        return None
    value: object = None
    threshold = tolerance = n = provider = metric = None
    weight: float = 1
    with complaints.about(f"{path}.value"):
        value = kind.value(raw.get("value"))
        _check_templates(value, variables)
    with complaints.about(f"{path}.threshold"):
        threshold = kind.threshold(raw.get("threshold"))
    with complaints.about(f"{path}.tolerance"):
        tolerance = _tolerance(raw.get("tolerance"), allowed=kind.has_tolerance)
    with complaints.about(f"{path}.n"):
        n = _n(raw.get("n"), allowed=kind.has_n)
    with complaints.about(f"{path}.provider"):
        provider = _provider(raw.get("provider"), allowed=kind.asks)
    with complaints.about(f"{path}.weight"):
        weight = _weight(raw.get("weight"))
    with complaints.about(f"{path}.metric"):
        metric = _metric(raw.get("metric"))
    return Assertion(type_, value, threshold, weight, metric, tolerance, n, provider)


def _type(raw: object) -> str:
    if not isinstance(raw, str) or not raw:
        raise Invalid("A type is needed, such as contains.")
    if len(raw) > MAX_TYPE_CHARACTERS:
        raise Invalid(f"There is no assertion {clipped(raw)}.")
    return raw


def _unknown_field(name: object) -> str:
    if name in _CODE_FIELDS:
        return f"{clipped(name)} would run code or call out, and assertions here do neither."
    return f"An assertion has no field {clipped(name)}. It has {', '.join(_FIELDS)}."


def _check_templates(value: object, variables: Mapping[str, Scalar] | None) -> None:
    if variables is None:
        templates.check(value)
    else:
        templates.fill_all(value, variables)


def _tolerance(raw: object, *, allowed: bool) -> float | None:
    if raw is None:
        return None
    if not allowed:
        raise Invalid("Only numeric has a tolerance.")
    # 0 is what is meant where nothing is said, and both are to be one assertion.
    return fields.number(raw, least=0) or None


def _n(raw: object, *, allowed: bool) -> int | None:
    if raw is None:
        return None
    if not allowed:
        raise Invalid("Only rouge-n has an n.")
    n = fields.number(raw, least=1, most=MAX_N)
    if not isinstance(n, int):
        raise Invalid("This must be a whole number of words.")
    # 1 is what is meant where nothing is said, and both are to be one assertion.
    return n if n > 1 else None


def _provider(raw: object, *, allowed: bool) -> str | None:
    if raw is None or raw == "":
        return None
    if not allowed:
        raise Invalid("Only similar and llm-rubric ask another model.")
    if not isinstance(raw, str):
        raise Invalid("This must be the id, the name or the model of an endpoint of the project.")
    return fields.text(raw, most=MAX_PROVIDER_CHARACTERS)


def _weight(raw: object) -> float:
    return 1 if raw is None else fields.number(raw, least=0, most=MAX_WEIGHT)


def _metric(raw: object) -> str | None:
    return None if raw is None or raw == "" else fields.text(raw, most=MAX_METRIC_CHARACTERS)
