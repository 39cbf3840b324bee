import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access import strict_json
from access.errors import Invalid
from access.json_places import positions_of
from access.strict_json import Malformed, Oversized, flaw, loads, unstorable

JSON_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | JSON_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_TEXT, inner, max_size=4),
    max_leaves=20,
)


def refusal(data: bytes | str, **limits: int) -> Malformed:
    with pytest.raises(Malformed) as caught:
        loads(data, **limits)
    return caught.value


@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_json_writes_is_read_back(value: object, ascii_only: bool, indent: int | None) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    assert loads(written) == value
    assert loads(written.encode()) == value
    assert flaw(value) is None


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0d8e+-1N \n', max_size=60))
def test_any_bytes_are_read_or_refused_with_a_place(data: bytes | str) -> None:
    try:
        value = loads(data)
    except Malformed as error:
        line, column, message = error.line, error.column, error.message
    else:
        assert flaw(value) is None
        return

    assert min(line, column) >= 1
    assert message.startswith(f"Line {line}, column {column}: ")


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "expecting value"),
        ('{"a": 1,\n "b": }', 2, 7, "expecting value"),
        ('{"a": 1} x', 1, 10, "extra data"),
        ('["é", nul]', 1, 7, "expecting value"),
        ('["a\nb"]', 1, 4, "control character"),
        ('["\x00"]', 1, 3, "control character"),
        ('"abc', 1, 1, "unterminated string"),
        ('{"a": 1,\n "a": 2}', 2, 2, 'key "a" occurs twice'),
        ('{"x": {"b": 1, "a": {"a": 0}, "b": 2}}', 1, 31, 'key "b" occurs twice'),
        ('{"\\u0061": 1, "a": 2}', 1, 15, 'key "a" occurs twice'),
        ('{"NaN": [1, NaN]}', 1, 13, "NaN is not"),
        ("[Infinity]", 1, 2, "Infinity is not"),
        ("[1,\n-Infinity]", 2, 1, "-Infinity is not"),
        ("[1, 1e999]", 1, 5, "too large"),
        ("[1, -1e400]", 1, 5, "too large"),
        (f"[0, {'9' * 250}e99]", 1, 5, "too large"),
        (f'{{"n": {"7" * 5000}}}', 1, 7, "more than 1,000 digits"),
        (f"-{'7' * 1001}", 1, 1, "more than 1,000 digits"),
        ('["a", "\\u0000"]', 1, 8, "NUL"),
        ('["\\ud83d\\ude00", "\\ud83d"]', 1, 19, "surrogate"),
        ('{"\\ude00": 1}', 1, 3, "surrogate"),
        ('["\\uDE00\\uD83D"]', 1, 3, "surrogate"),
        ('["\\\\\\u0000"]', 1, 5, "NUL"),
    ],
)
def test_what_is_refused_is_named_with_its_place(
    text: str, line: int, column: int, words: str
) -> None:
    error = refusal(text)

    assert (error.line, error.column) == (line, column)
    assert words in error.message
    assert isinstance(error, Invalid)
    assert error.status_code == 400


def test_a_lone_surrogate_in_text_is_refused_where_it_stands() -> None:
    error = refusal('["ok",\n"\ud800"]')

    assert (error.line, error.column) == (2, 2)


def test_bytes_that_are_not_utf8_are_refused_by_character_and_not_by_byte() -> None:
    error = refusal('["é", "'.encode() + b'\xff"]')

    assert (error.line, error.column) == (1, 8)


@pytest.mark.parametrize(
    "text",
    ['"\\\\u0000"', '"\\\\ud800"', '"\\ud83d\\ude00"', '"u0000"', f"[{'1' * 1000}]", "[1e308]"],
)
def test_what_only_looks_suspect_is_accepted(text: str) -> None:
    assert loads(text) == json.loads(text)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert loads(b"\xef\xbb\xbf[1]") == [1]
    assert loads("\ufeff[1]") == [1]


@pytest.mark.parametrize(("opening", "column"), [("[", 33), ('{"a":', 161), ('[{"a":', 97)])
def test_nesting_without_end_is_refused_where_it_gets_too_deep(opening: str, column: int) -> None:
    error = refusal(opening * 100_000)

    assert "deeper than 32 levels" in error.message
    assert error.column == column


def test_depth_counts_brackets_inside_each_other_only() -> None:
    assert loads("[" * 32 + "]" * 32)
    assert loads('["' + "[" * 100 + '"]') == ["[" * 100]
    assert loads("[" + "[],{}," * 1000 + "0]")
    assert refusal("[" * 33 + "]" * 33).column == 33
    assert refusal('[[0],\n{"a":[[]]}]', max_depth=3).line == 2


def test_a_text_over_its_limit_is_refused_as_too_large() -> None:
    assert loads("[1234567]", max_bytes=9) == [1234567]
    with pytest.raises(Oversized) as caught:
        loads("[12345678]", max_bytes=9)

    assert caught.value.status_code == 413


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "NaN"),
        ([1, [math.inf]], "NaN"),
        ({"a": ["\x00"]}, "NUL"),
        ({"\ud800": 1}, "surrogate"),
        ({1: 2}, "keys"),
        ([{"a": object()}], "object is not a JSON value"),
        ((1, 2), "tuple is not a JSON value"),
        (10**1001, "1,000 digits"),
    ],
)
def test_flaws_of_values_from_elsewhere_are_named(value: object, words: str) -> None:
    assert words in (flaw(value) or "")


def test_flaw_measures_depth_like_loads() -> None:
    value: list[object] = []
    for _ in range(31):
        value = [value]

    assert flaw(value) is None
    assert "32 levels" in (flaw([value]) or "")


def test_a_value_made_of_aliases_is_refused_and_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "MAX_VALUES", 1000)
    value: list[object] = []
    for _ in range(30):
        value = [value, value]

    assert "1,000 values" in (flaw(value) or "")


def test_text_that_postgresql_refuses_is_known() -> None:
    assert unstorable("a\x00")
    assert unstorable("é\x00")
    assert unstorable("\udfff")
    assert not unstorable("é😀\n")


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("", 1, 1),
        ("a", 1, 7),
        ("b", 2, 7),
        ("b[0]", 2, 8),
        ("b[1].type", 2, 26),
        ("b[1].missing", 2, 17),
        ("b[1]", 2, 17),
        ("b[2][1]", 2, 37),
        ("b[7]", 2, 7),
        ("nowhere.at", 1, 1),
        ("c", 3, 7),
    ],
)
def test_fields_are_found_by_path(path: str, line: int, column: int) -> None:
    text = '{"a": {"b": 1},\n "b": [{"x": 1},{"type": "py"}, [1, []]],\n "c": null}'

    assert positions_of(text, [path, "a"]) == {path: (line, column), "a": (1, 7)}
