from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.errors import Invalid
from batches.scoring import Answer, Assertion, CaseScore, effective, parse, score
from batches.scoring.registry import KINDS


def answer(
    output: str = "", *, latency_ms: float | None = 120, cost: str | None = "0.002"
) -> Answer:
    return Answer(output, latency_ms, None if cost is None else Decimal(cost))


def scored(
    *assertions: Mapping[str, object],
    of: Answer,
    threshold: float | None = None,
    variables: dict[str, str | int | float | bool] | None = None,
) -> CaseScore:
    return score(parse(assertions), of, variables=variables or {}, threshold=threshold)


def complaints(*assertions: object, **options: object) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        parse(assertions, **options)  # type: ignore[arg-type]
    return caught.value.details


# What is refused when it is saved


@pytest.mark.parametrize(
    "type_",
    [
        "python", "javascript", "ruby", "not-javascript", "python:len(output) > 3", "fn:check",
        "fn: x", "javascript: output.length", "file://check.py", "package:me:check", "eval: 1",
    ],
)  # fmt: skip
def test_types_that_run_code_are_refused_by_name(type_: str) -> None:
    details = complaints({"type": type_, "value": "x"})

    (sentence,) = details["assertions[0].type"]
    assert sentence.startswith(type_.removeprefix("not-"))
    assert "runs no code" in sentence


def test_webhooks_are_refused_because_they_call_out() -> None:
    details = complaints({"type": "webhook", "value": "https://example.com"})

    assert "another server" in details["assertions[0].type"][0]


def test_unknown_types_are_refused_naming_the_known_ones() -> None:
    (sentence,) = complaints({"type": "contain", "value": "x"})["assertions[0].type"]

    assert "There is no assertion contain." in sentence
    assert all(name in sentence for name in KINDS)


def test_every_bad_field_is_named_at_once() -> None:
    details = complaints(
        {"type": "contains"},
        {"type": "latency", "value": "fast"},
        "contains",
        {"type": "equals", "value": "a", "weight": -1, "transform": "output.trim()", "x": 1},
        {"value": 3},
    )

    assert set(details) == {
        "assertions[0].value",
        "assertions[1].value",
        "assertions[1].threshold",
        "assertions[2]",
        "assertions[3].weight",
        "assertions[3].transform",
        "assertions[3].x",
        "assertions[4].type",
    }
    assert "run code" in details["assertions[3].transform"][0]


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "contains", "value": ""},
        {"type": "contains", "value": True},
        {"type": "contains", "value": ["a"]},
        {"type": "contains", "value": "a" * 10_001},
        {"type": "contains", "value": "a\x00"},
        {"type": "contains", "value": "\ud800"},
        {"type": "equals", "value": float("nan")},
        {"type": "equals", "value": {"a": float("inf")}},
        {"type": "equals", "value": ["a" * 10_001]},
        {"type": "equals", "value": None},
        {"type": "contains-any", "value": []},
        {"type": "contains-any", "value": ["a", ""]},
        {"type": "contains-all", "value": " , ,"},
        {"type": "contains-all", "value": ["a"] * 201},
        {"type": "contains-all", "value": ["a" * 9_000] * 2},
        {"type": "numeric", "value": "many"},
        {"type": "numeric", "value": "Infinity"},
        {"type": "contains", "value": "{{ name | upper }}"},
        {"type": "contains", "value": "{% if a %}"},
    ],
)
def test_bad_values_are_refused(raw: dict[str, object]) -> None:
    assert list(complaints(raw)) == ["assertions[0].value"]


@pytest.mark.parametrize(
    ("type_", "threshold"),
    [
        ("levenshtein", -1), ("levenshtein", 1.5), ("levenshtein", True), ("latency", None),
        ("latency", "fast"), ("latency", float("nan")), ("latency", -1), ("cost", None),
        ("cost", "NaN"), ("cost", "-0.1"), ("cost", "1e-20"), ("cost", True), ("cost", "9" * 500),
        ("cost", float("inf")), ("contains", 0), ("contains", 1.1), ("contains", 10**400),
    ],
)  # fmt: skip
def test_bad_thresholds_are_refused(type_: str, threshold: object) -> None:
    raw: dict[str, object] = {"type": type_, "threshold": threshold}
    if type_ not in ("latency", "cost"):
        raw["value"] = "x"

    assert list(complaints(raw)) == ["assertions[0].threshold"]


@pytest.mark.parametrize("raw", ["contains", {"type": "contains"}, 3, None, [{}] * 51])
def test_assertions_are_a_list_of_bounded_length(raw: object) -> None:
    with pytest.raises(Invalid) as caught:
        parse(raw, path="agent.assertions")

    assert list(caught.value.details) == ["agent.assertions"]


def test_only_numeric_has_a_tolerance() -> None:
    details = complaints({"type": "equals", "value": "1", "tolerance": 1})

    assert list(details) == ["assertions[0].tolerance"]


def test_a_variable_that_is_not_given_is_refused_by_name_where_the_variables_are_known() -> None:
    raw = {"type": "contains-any", "value": ["{{ city }}", "b"]}

    assert parse([raw])
    assert parse([raw], variables={"city": "Paris"})
    (sentence,) = complaints(raw, variables={"town": "Paris"})["assertions[0].value"]
    assert "city" in sentence
    assert "town" in sentence


def test_what_is_kept_is_read_back_as_the_same_assertions() -> None:
    parsed = parse(
        [
            {"type": "not-contains", "value": "a", "weight": 2.0, "metric": "tone"},
            {"type": "equals", "value": {"b": 1.0, "a": [True, None]}, "threshold": 1},
            {"type": "cost", "threshold": 0.050},
            {"type": "cost", "threshold": "0.050", "weight": 0},
            {"type": "latency", "threshold": 300.5},
            {"type": "numeric", "value": 1e100, "tolerance": 0.5},
            {"type": "numeric", "value": 3, "tolerance": 0},
            {"type": "levenshtein", "value": "", "threshold": 0},
        ]
    )

    stored = [assertion.as_json() for assertion in parsed]

    assert parse(stored) == parsed
    assert stored[2] == {"type": "cost", "threshold": "0.05"}
    assert stored[5]["value"] == 10**100


# How a case is scored


def test_the_score_is_the_weighted_mean_and_the_case_passes_if_all_assertions_pass() -> None:
    right = {"type": "contains", "value": "Paris", "weight": 3}
    wrong = {"type": "contains", "value": "London"}

    both = scored(right, wrong, of=answer("It is Paris."))
    one = scored(right, of=answer("It is Paris."))

    assert (both.score, both.passed) == (0.75, False)
    assert (one.score, one.passed) == (1, True)


@pytest.mark.parametrize(("threshold", "passed"), [(0.75, True), (0.76, False), (0, True)])
def test_with_a_threshold_the_score_decides(threshold: float, passed: bool) -> None:
    result = scored(
        {"type": "contains", "value": "Paris", "weight": 3},
        {"type": "contains", "value": "London"},
        of=answer("It is Paris."),
        threshold=threshold,
    )

    assert result.passed is passed


def test_a_mean_that_equals_the_threshold_on_paper_passes() -> None:
    result = scored(
        {"type": "contains", "value": "a", "weight": 0.1},
        {"type": "contains", "value": "b", "weight": 0.2},
        {"type": "contains", "value": "x", "weight": 0.7},
        of=answer("ab"),
        threshold=0.3,
    )

    assert result.passed is True


def test_without_assertions_a_case_is_unscored() -> None:
    assert scored(of=answer("x")) == CaseScore(None, None, ())


@pytest.mark.parametrize("type_", ["latency", "not-latency", "cost", "not-cost"])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_an_unknown_figure_leaves_the_case_unscored(type_: str, threshold: float | None) -> None:
    result = scored(
        {"type": "contains", "value": "a"},
        {"type": type_, "threshold": 1},
        of=answer("a", latency_ms=None, cost=None),
        threshold=threshold,
    )

    assert (result.score, result.passed) == (None, None)
    assert (result.assertions[0].passed, result.assertions[1].passed) == (True, None)
    assert result.assertions[1].score is None
    assert "unknown" in result.assertions[1].reason


@pytest.mark.parametrize("figure", ["NaN", "sNaN", "Infinity"])
def test_a_figure_that_is_no_number_is_unknown(figure: str) -> None:
    result = scored(
        {"type": "cost", "threshold": 1},
        {"type": "latency", "threshold": 1},
        of=Answer("a", float("nan"), Decimal(figure)),
    )

    assert [item.passed for item in result.assertions] == [None, None]


def test_weight_zero_is_for_the_record_only() -> None:
    beside = scored(
        {"type": "contains", "value": "a"},
        {"type": "contains", "value": "b", "weight": 0},
        {"type": "cost", "threshold": 1, "weight": 0},
        of=answer("a", cost=None),
    )
    alone = scored({"type": "contains", "value": "a", "weight": 0}, of=answer("a"))

    assert (beside.score, beside.passed) == (1, True)
    assert [item.passed for item in beside.assertions] == [True, False, None]
    assert (alone.score, alone.passed) == (None, None)


def test_not_inverts_the_verdict_and_the_score() -> None:
    result = scored(
        {"type": "not-levenshtein", "value": "sitting", "threshold": 2}, of=answer("kitten")
    )

    assert result.passed is True
    assert result.score == pytest.approx(1 - 0.571429, abs=1e-6)


def test_variables_are_filled_into_values() -> None:
    result = scored(
        {"type": "equals", "value": {"city": "{{city}}"}},
        {"type": "contains-all", "value": ["{{ city }}", "city"]},
        {"type": "contains-any", "value": "x, {{ city }}"},
        {"type": "not-numeric", "value": "{{n}}"},
        {"type": "contains", "value": "{{b}}", "weight": 0},
        of=answer('{"city": "Paris"}'),
        variables={"city": "Paris", "n": 3.0, "b": True},
    )

    assert result.passed is True
    assert 'numeric "3"' in result.assertions[3].reason
    assert 'contains "true"' in result.assertions[4].reason


def test_what_a_variable_holds_is_not_filled_again() -> None:
    result = scored(
        {"type": "equals", "value": "{{a}}"}, of=answer("{{b}}"), variables={"a": "{{b}}", "b": "x"}
    )

    assert result.passed is True


@pytest.mark.parametrize("variables", [{}, {"city": ""}])
def test_a_value_without_its_variable_is_unscored_and_not_wrong(variables: dict[str, str]) -> None:
    result = score(
        parse([{"type": "contains", "value": "{{city}}"}]),
        answer("x"),
        variables=variables,
        threshold=None,
    )

    assert result.passed is None
    assert "variable" in result.assertions[0].reason


def test_expected_alone_means_equal_up_to_white_space() -> None:
    claims = effective((), " Paris\n")

    same = score(claims, answer("Paris "), variables={}, threshold=None)
    other = score(claims, answer("paris"), variables={}, threshold=None)

    assert (same.passed, other.passed) == (True, False)
    assert other.assertions[0].type == "equals"


def test_expected_beside_assertions_is_not_scored() -> None:
    claims = parse([{"type": "contains", "value": "a"}])

    assert effective(claims, "b") == claims
    assert effective((), None) == ()


def test_a_reason_names_what_was_expected_and_what_came_in_short() -> None:
    result = scored(
        {"type": "contains", "value": "Paris"}, of=answer("Lon\x00don\n\ud800" + "x" * 5000)
    )

    reason = result.assertions[0].reason
    assert reason.startswith('Expected contains "Paris"; the output is "Lon�don ?xxx')
    assert len(reason) < 200


SCHEMA = {"pattern": "^a*$", "uniqueItems": True, "multipleOf": 0.1, "enum": [{"a": 1}, "a"]}
EVERY_KIND = parse(
    [
        {"type": f"{negation}{type_}", "value": value}
        for negation in ("", "not-")
        for type_, value in [
            ("equals", "a"), ("equals", {"a": [1, None]}), ("contains", "a"), ("icontains", "İ"),
            ("starts-with", "a"), ("contains-any", 'a, "b, c'), ("contains-all", ["a", 1]),
            ("icontains-any", ["İ", "b"]), ("icontains-all", "ß, A"),
            ("levenshtein", "kitten"), ("numeric", 42), ("numeric", "1e-300"),
            ("regex", r"[{\[](a|.)*1$"), ("is-json", None), ("is-json", SCHEMA),
            ("contains-json", None), ("contains-json", SCHEMA), ("rouge-n", ["a", "a b"]),
            ("rouge-l", "a b"), ("bleu", ["a", "a b"]), ("similar", "a"), ("llm-rubric", "Be kind"),
        ]
    ]
    + [
        {"type": "latency", "threshold": 10},
        {"type": "cost", "threshold": "0.1"},
    ]
)  # fmt: skip

HOSTILE = st.one_of(
    st.text(),
    st.text(st.characters(categories=["Cs", "Cc", "Nd", "Sc"])),
    st.text("0123456789,.-+eE$ \u2212NaInf_"),
    st.text('{}[]":,\\ud8001eN '),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=5), st.just(20_000)),
)


@given(HOSTILE, st.floats() | st.none(), st.decimals() | st.none())
def test_scoring_raises_for_no_answer(output: str, latency_ms: float, cost: Decimal) -> None:
    result = score(EVERY_KIND, Answer(output, latency_ms, cost), variables={}, threshold=None)

    for item in result.assertions:
        assert (item.passed is None) == (item.score is None)
        assert item.score is None or 0 <= item.score <= 1
        assert "\x00" not in item.reason
        item.reason.encode()


def test_kinds_of_every_family_are_covered_by_the_test_with_hostile_answers() -> None:
    assert {assertion.base for assertion in EVERY_KIND} == set(KINDS)


def test_an_assertion_cannot_ask_for_trimming() -> None:
    assert list(complaints({"type": "equals", "value": "a", "trimmed": True})) == [
        "assertions[0].trimmed"
    ]
    assert Assertion("equals", "a").trimmed is False
