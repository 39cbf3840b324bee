"""JSON in answers, and schemas that fetch nothing and take no time to speak of."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from access.errors import Invalid
from batches.scoring import Answer, AssertionScore, parse, patience, schemas, score

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
# Each level doubles the work of the one below.
DOUBLING = {
    "$defs": {
        "a": {"anyOf": [{"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["z"]}] * 8}
    },
    "$ref": "#/$defs/a",
}


def check(output: str, value: object = None, *, type_: str = "is-json") -> AssertionScore:
    parsed = parse([{"type": type_, "value": value}])
    return score(parsed, Answer(output, None, None), variables={}, threshold=None).assertions[0]


@pytest.mark.parametrize(
    ("output", "passed"),
    [
        ('{"a": [1, null]}', True),
        (" 3 ", True),
        ('"text"', True),
        ("", False),
        ("{'a': 1}", False),
        ('{"a": 1} done', False),
        ('```json\n{"a": 1}\n```', False),
        ('{"a": 1, "a": 2}', False),
        ("[NaN]", False),
        ("[" * 100_000, False),
    ],
)
def test_is_json_looks_at_the_whole_answer_strictly(output: str, passed: bool) -> None:
    assert check(output).passed is passed
    assert check(output, type_="not-is-json").passed is not passed


@pytest.mark.parametrize(
    ("output", "passed"),
    [
        ('Here: {"a": 1}.', True),
        ('```json\n{"a": 1}\n```', True),
        ("a list [1, 2] of", True),
        ("{broken} then {}", True),
        ("no 3 or true or null", False),
        ("[NaN] {", False),
        ("", False),
    ],
)
def test_contains_json_looks_for_an_object_or_array(output: str, passed: bool) -> None:
    assert check(output, type_="contains-json").passed is passed


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ('{"name": "Ada", "age": 36}', None),
        ('{"name": "ada"}', "at $.name"),
        ('{"age": 36}', "'name' is a required property"),
        ('{"name": "Ada", "age": -1}', "at $.age"),
        ('{"name": "Ada", "x": 1}', "'x' is not among the allowed properties"),
        ("[]", "not of type 'object'"),
    ],
)
def test_a_schema_is_held_to(output: str, why: str | None) -> None:
    found = check(output, PERSON)

    assert found.passed is (why is None)
    assert why is None or why in found.reason


def test_contains_json_takes_any_value_that_fits() -> None:
    text = 'Not [1] nor {"name": 3}, but {"name": "Ada"}.'

    assert check(text, PERSON, type_="contains-json").passed is True
    assert check(text, {"type": "object", "required": ["z"]}, type_="contains-json").passed is False


def test_a_schema_may_be_written_as_text() -> None:
    assert check("3", '{"type": "integer"}').passed is True
    assert check('"3"', '{"type": "integer"}').passed is False


def test_variables_fill_a_schema_and_one_that_they_spoil_is_unscored() -> None:
    parsed = parse([{"type": "is-json", "value": {"const": "{{ x }}", "type": "{{ t }}"}}])

    def found(variables: dict[str, str]) -> bool | None:
        answer = Answer('"Paris"', None, None)
        return score(parsed, answer, variables=variables, threshold=None).passed

    assert found({"x": "Paris", "t": "string"}) is True
    assert found({"x": "Rome", "t": "string"}) is False
    assert found({"x": "Paris", "t": "no type"}) is None


@pytest.mark.parametrize(
    "value",
    [
        [],
        "no json",
        "[]",
        3,
        {"type": "objekt"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "other.json#/$defs/a"},
        {"properties": {"a": {"$dynamicRef": "http://169.254.169.254/"}}},
        {"$ref": "#/$defs/missing"},
        {"$schema": "https://example.com/my-own"},
        {"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}},
        {"pattern": "(?=a)"},
        {"patternProperties": {r"(a)\1": {}}},
        {"patternProperties": {"a": {}}, "unevaluatedProperties": False},
        {"title": "x" * 10_001},
        {"title": "\x00"},
    ],
    ids=str,
)
def test_schemas_that_are_refused_when_saved(value: object) -> None:
    for type_ in ("is-json", "contains-json"):
        with pytest.raises(Invalid) as caught:
            parse([{"type": type_, "value": value}])
        assert list(caught.value.details) == ["assertions[0].value"]


def test_a_reference_that_only_a_variable_made_remote_is_not_followed() -> None:
    parsed = parse([{"type": "is-json", "value": {"properties": {"a": {"$ref": "{{ x }}"}}}}])
    variables = {"x": "http://127.0.0.1:9/schema"}

    found = score(parsed, Answer('{"a": 1}', None, None), variables=variables, threshold=None)

    assert found.passed is None
    assert "not followed" in found.assertions[0].reason


@pytest.mark.parametrize("draft", sorted(schemas._DRAFTS))
def test_every_draft_has_its_checks_limited(draft: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = {"$schema": draft, "properties": {"a": {"$ref": "#"}}, "type": "object"}
    assert check('{"a": {"a": {}}}', schema).passed is True
    assert check('{"a": {"a": 1}}', schema).passed is False

    monkeypatch.setattr(patience, "MOST_SECONDS", -1.0)

    with pytest.raises(schemas.Undecided, match="takes too long"):
        schemas.misfit(schema, [{"a": {"a": {}}}])


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        (DOUBLING, '{"a": ' * 30 + "1" + "}" * 30),
        ({"$ref": "#"}, "1"),
        ({"multipleOf": 0.1}, "1" * 400),
    ],
    ids=["doubling", "circle", "digits"],
)
def test_what_cannot_be_decided_in_time_is_unscored(schema: Any, output: str) -> None:
    found = check(output, schema)

    assert (found.passed, found.score) == (None, None)


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        ({"uniqueItems": True}, "[" + "{},[]," * 30_000 + "1]"),
        ({"pattern": "^(x+x+)+y"}, '"' + "x" * 100_000 + '"'),
        ({"patternProperties": {"^(x+x+)+y": False}}, '{"' + "x" * 10_000 + '": 1}'),
        ({"type": "object"}, "[1] " * 50_000),
        ({"type": "string"}, "[1," * 300_000),
    ],
    ids=["unique", "pattern", "property", "many", "open"],
)
def test_hostile_answers_cost_linear_time(schema: Any, output: str) -> None:
    started = time.process_time()

    for type_ in ("is-json", "contains-json"):
        check(output, schema, type_=type_)

    # At most about a second; quadratic time or going back would be minutes.
    assert time.process_time() - started < 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text("ab1", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab1", max_size=2), inner),
    max_leaves=8,
)
schemas_ = st.fixed_dictionaries(
    {},
    optional={
        "uniqueItems": st.booleans(),
        "pattern": st.sampled_from(["^a", "b$", "[ab]1"]),
        "patternProperties": st.dictionaries(
            st.sampled_from(["^a", "1"]), st.sampled_from([True, False, {"type": "integer"}])
        ),
        "properties": st.dictionaries(st.sampled_from(["a", "b"]), st.just({"type": "string"})),
        "additionalProperties": st.sampled_from([True, False, {"type": "null"}]),
        "items": st.just({"type": ["integer", "object"]}),
    },
)


@settings(max_examples=300)
@given(schemas_, json_values)
def test_our_own_checks_say_what_jsonschemas_say(schema: dict[str, Any], value: Any) -> None:
    assert (schemas.misfit(schema, [value]) is None) is Draft202012Validator(schema).is_valid(value)
