import time
from decimal import Decimal

import pytest

from batches.scoring import Answer, AssertionScore, parse, score
from batches.scoring.numbers import last_number
from batches.scoring.text import MAX_COMPARED_CHARACTERS, entries


def check(
    output: str, latency_ms: float | None = None, cost: Decimal | None = None, **fields: object
) -> AssertionScore:
    """Score one assertion, with its `type` written with underscores for dashes."""
    assertion = {**fields, "type": str(fields["type"]).replace("_", "-")}
    answer = Answer(output, latency_ms, cost)
    return score(parse([assertion]), answer, variables={}, threshold=None).assertions[0]


@pytest.mark.parametrize(
    ("value", "output", "passed"),
    [
        ("Paris", "Paris", True),
        ("Paris", "paris", False),
        ("Paris", "Paris\n", False),
        ("", "", True),
        (4, "4", True),
        (4.0, "4", True),
        (True, "true", True),
        ({"a": 1, "b": [2]}, '{"b":[2], "a":1.0}', True),
        ({"a": 1}, '{"a": true}', False),
        ({"a": 1}, '{"a": "1"}', False),
        ({"a": 1}, '{"a": 1, "b": 2}', False),
        ({"a": 1}, "a is 1", False),
        ({"a": 1}, '```json\n{"a": 1}\n```', False),
        ([1, 2], "[2, 1]", False),
        ({"a": 1}, "[" * 100_000, False),
        ({"a": 1}, '{"a": NaN}', False),
    ],
)
def test_equals_is_strict_and_compares_objects_as_json(
    value: object, output: str, passed: bool
) -> None:
    result = check(output, type="equals", value=value)

    assert result.passed is passed
    assert result.score == float(passed)


@pytest.mark.parametrize(
    ("type_", "value", "output", "passed"),
    [
        ("contains", "Paris", "in Paris.", True),
        ("contains", "paris", "in Paris.", False),
        ("contains", 42, "it is 42", True),
        ("icontains", "PARIS", "in paris.", True),
        ("icontains", "STRASSE", "Hauptstraße 1", True),
        ("icontains", "rome", "in paris.", False),
        ("starts-with", "In", "In Paris.", True),
        ("starts-with", "Paris", "In Paris.", False),
        ("contains-any", ["Rome", "Paris"], "in Paris.", True),
        ("contains-any", ["Rome", "Oslo"], "in Paris.", False),
        ("contains-any", "Rome,Paris", "in Paris.", True),
        ("contains-any", '"Paris, Texas", Rome', "in Paris.", False),
        ("contains-any", '"Paris, Texas", Rome', "Paris, Texas!", True),
        ("contains-any", [1, 2], "2 of them", True),
        ("contains-all", ["a", "b"], "cab", True),
        ("contains-all", ["a", "b", "d"], "cab", False),
        ("contains-all", "a, b", "cab", True),
        ("contains-all", "a, d", "cab", False),
        ("icontains-any", ["ROME", "Paris"], "in paris.", True),
        ("icontains-any", "STRASSE, Rome", "Hauptstraße 1", True),
        ("icontains-any", ["Rome", "Oslo"], "in Paris.", False),
        ("icontains-all", "A, b", "CAB", True),
        ("icontains-all", ["A", "d"], "CAB", False),
    ],
)
def test_parts_of_the_text(type_: str, value: object, output: str, passed: bool) -> None:
    assert check(output, type=type_, value=value).passed is passed
    assert check(output, type=f"not-{type_}", value=value).passed is not passed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b", ["a", "b"]),
        (" a , b ,", ["a", "b"]),
        ('"a,b",c', ["a,b", "c"]),
        ('"say ""hi""", x', ['say "hi"', "x"]),
        (r'"say \"hi\" \\", x', ['say "hi" \\', "x"]),
        ('"open, x', ['"open', "x"]),
        ("one\ntwo, three", ["one\ntwo", "three"]),
        (",,", []),
    ],
)
def test_comma_lists(text: str, expected: list[str]) -> None:
    assert entries(text) == expected


def test_reasons_name_what_is_missing_and_what_was_found() -> None:
    missing = check("a", type="contains-all", value=["a", "b", "c", "d", "e"])
    found = check("cab", type="not-contains-any", value=["x", "a"])

    assert 'missing "b", "c", "d" and 1 more' in missing.reason
    assert 'found "a"' in found.reason


@pytest.mark.parametrize(
    ("output", "value", "threshold", "passed", "similarity"),
    [
        ("kitten", "sitting", 3, True, 0.571429),
        ("kitten", "sitting", 2, False, 0.571429),
        ("kitten", "sitting", None, True, 0.571429),
        ("abcdef", "", None, False, 0),
        ("", "", None, True, 1),
        ("a", "a", 0, True, 1),
        ("a", "b", 0, False, 0),
        ("naïve", "naive", 1, True, 0.8),
    ],
)
def test_levenshtein_passes_by_distance_and_scores_by_similarity(
    output: str, value: str, threshold: int | None, passed: bool, similarity: float
) -> None:
    result = check(output, type="levenshtein", value=value, threshold=threshold)

    assert result.passed is passed
    assert result.score == pytest.approx(similarity, abs=1e-6)


def test_levenshtein_counts_what_is_beyond_its_limit_without_looking_at_it() -> None:
    result = check("a" * (MAX_COMPARED_CHARACTERS + 7), type="levenshtein", value="a")

    assert f"the distance is {MAX_COMPARED_CHARACTERS + 6:,}" in result.reason
    assert result.passed is False


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", "42"), (" 42\n", "42"), ("The answer is 42.", "42"), ("$1,234.56", "1234.56"),
        ("-$5", "-5"), ("10-12", "12"), ("\u22125 °C", "-5"), ("(-3)", "-3"), ("x=+7", "7"),
        ("3 of 10", "10"), ("1,2,3", "3"), ("3,14", "14"), ("-3.5e2!", "-350"), (".5", "0.5"),
        ("5kg", "5"), ("**12**", "12"), ("\\boxed{42}", "42"), ("1,234,", "1234"), ("50%", "50"),
        ("12,345,678", "12345678"), ("a,b,7", "7"), ("H2O", None), ("none", None), ("", None),
        ("9" * 5000, None), ("1e99999", None), ("½", None), ("nan inf", None), ("v2", None),
    ],
)  # fmt: skip
def test_the_number_in_a_text_is_the_last_one(text: str, number: str | None) -> None:
    assert last_number(text) == (None if number is None else Decimal(number))


def test_a_number_is_never_cut_in_two_by_the_search_limit() -> None:
    assert last_number("123456" + "x" * 9_997) is None


@pytest.mark.parametrize(
    ("value", "tolerance", "output", "passed"),
    [
        (42, None, "It is 42.", True),
        (42, None, "It is 42.0", True),
        (42, None, "It is 42.1", False),
        (42, 0.1, "It is 42.1", True),
        (42, 0.1, "It is 41.9", True),
        (42, 0.1, "It is 41.89", False),
        (0.3, 0, "0.1 + 0.2 = 0.3", True),
        ("6.02e23", "0", "602,000,000,000,000,000,000,000", True),
        (1e300, 1, "1e300", True),
        (1, None, "one", False),
    ],
)
def test_numeric_compares_exactly_within_the_tolerance(
    value: object, tolerance: object, output: str, passed: bool
) -> None:
    tolerance = float(tolerance) if isinstance(tolerance, str) else tolerance

    assert check(output, type="numeric", value=value, tolerance=tolerance).passed is passed


@pytest.mark.parametrize(("took", "passed"), [(100, True), (99.9, True), (100.1, False)])
def test_latency_passes_up_to_its_threshold(took: float, passed: bool) -> None:
    assert check("", latency_ms=took, type="latency", threshold=100).passed is passed


@pytest.mark.parametrize(("price", "passed"), [("0.3", True), ("0.300000000001", False)])
def test_cost_is_compared_as_decimals(price: str, passed: bool) -> None:
    # In binary, 0.1 + 0.2 is more than 0.3.
    result = check("", cost=Decimal(price), type="cost", threshold=0.3)

    assert result.passed is passed
    assert f"it cost {price} USD" in result.reason


@pytest.mark.parametrize(
    "output",
    ["1,234" * 400_000, '"\\"' * 500_000, "[" * 2_000_000, "a" * 2_000_000, "-" * 2_000_000],
    ids=["digits", "quotes", "brackets", "letters", "signs"],
)
def test_a_huge_answer_is_scored_in_bounded_time(output: str) -> None:
    assertions = parse(
        [
            {"type": "numeric", "value": 1},
            {"type": "levenshtein", "value": "ab" * 5_000},
            {"type": "equals", "value": {"a": 1}},
            {"type": "contains-any", "value": "x,y"},
        ]
    )
    started = time.process_time()

    score(assertions, Answer(output, None, None), variables={}, threshold=None)

    # About 0.05 s; the limit tells linear from quadratic, not fast from slow.
    assert time.process_time() - started < 2


def test_a_comma_list_with_an_open_quote_costs_linear_time() -> None:
    started = time.process_time()

    parse([{"type": "contains-any", "value": '"' + '\\"' * 4_999 + ","}] * 50)

    # About 0.05 s.
    assert time.process_time() - started < 2
