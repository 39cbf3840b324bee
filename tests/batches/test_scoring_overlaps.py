"""Patterns, ROUGE and BLEU: known values, and the limits that keep a worker from hanging."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from access.errors import Invalid
from batches.scoring import Answer, AssertionScore, parse, score
from batches.scoring.overlaps import MAX_COMPARED_CHARACTERS
from batches.scoring.patterns import MAX_SEARCHED_CHARACTERS

SAT = "the cat sat on the mat"
IS = "the cat is on the mat"


def check(
    output: str, variables: Mapping[str, str] | None = None, **fields: object
) -> AssertionScore:
    """Score one assertion about `output`."""
    answer = Answer(output, None, None)
    return score(parse([fields]), answer, variables=variables or {}, threshold=None).assertions[0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "rouge-n"}, 0.8333),
        ({"type": "rouge-n", "n": 1}, 0.8333),
        ({"type": "rouge-n", "n": 2}, 0.6),
        ({"type": "rouge-l"}, 0.8333),
        ({"type": "bleu"}, 0.379918),
    ],
)
def test_known_values(fields: dict[str, Any], expected: float) -> None:
    found = check(SAT, value=IS, **fields)
    limit = round(expected, 4)

    assert found.score == pytest.approx(expected, abs=5e-5)
    assert check(SAT, value=IS, threshold=limit - 0.001, **fields).passed is True
    assert check(SAT, value=IS, threshold=limit + 0.001, **fields).passed is False
    negated = check(SAT, value=IS, **{**fields, "type": f"not-{fields['type']}"})
    assert negated.score == pytest.approx(1 - expected, abs=5e-5)


@pytest.mark.parametrize(("type_", "limit"), [("rouge-n", 0.75), ("rouge-l", 0.75), ("bleu", 0.5)])
def test_the_thresholds_are_promptfoos_where_none_is_given(type_: str, limit: float) -> None:
    assert f"at least {limit} is needed" in check(SAT, type=type_, value=IS).reason


def test_the_best_of_several_references_counts() -> None:
    assert check(SAT, type="rouge-n", value=["a dog", SAT]).score == 1
    assert check(SAT, type="bleu", value=["a dog", SAT]).score == pytest.approx(1)


def test_words_are_compared_in_any_script_and_without_case() -> None:
    assert check("ÉTÉ à Paris!", type="rouge-n", value="été à paris").score == 1
    assert check("...", type="rouge-n", value="a word").score == 0
    assert check("", type="rouge-l", value="a word").score == 0


def test_rouge_counts_a_word_as_often_as_both_texts_have_it() -> None:
    # 1 of 3 and 1 of 1: precision 1/3, recall 1.
    assert check("the the the", type="rouge-n", value="the").score == pytest.approx(0.5)


@settings(max_examples=60)
@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=3))
def test_bleu_is_sacrebleus(output: str, wanted: list[str]) -> None:
    wanted = [text.replace("{", "(").replace("\0", " ") for text in wanted]

    found = check(output, type="bleu", value=wanted).score

    assert found == pytest.approx(min(sacrebleu.sentence_bleu(output, wanted).score / 100, 1))


@pytest.mark.parametrize(
    ("pattern", "output", "passed"),
    [
        ("c.t", "a cat", True),
        ("^cat", "a cat", False),
        ("(?i)CAT$", "a cat", True),
        (r"\d{3}-\d{4}", "call 555-1234", True),
        (r"\p{Greek}", "\u03b1", True),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        ("", "x", None),
    ],
)
def test_a_pattern_is_found_anywhere(pattern: str, output: str, passed: bool | None) -> None:
    if passed is None:
        with pytest.raises(Invalid):
            check(output, type="regex", value=pattern)
        return
    assert check(output, type="regex", value=pattern).passed is passed
    assert check(output, type="not-regex", value=pattern).passed is not passed


@pytest.mark.parametrize("pattern", ["(?=x)", "(?<!x)y", r"(a)\1", "(", "[z-a]", "((a{900}){900})"])
def test_patterns_that_need_going_back_or_are_huge_are_refused_when_saved(pattern: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse([{"type": "regex", "value": pattern}])

    assert list(caught.value.details) == ["assertions[0].value"]
    assert "RE2" in caught.value.message


def test_a_pattern_spoilt_by_a_variable_is_unscored() -> None:
    found = check("x", {"name": "(("}, type="regex", value="{{ name }}")

    assert found.passed is None
    assert "missing )" in found.reason


def test_a_pattern_cannot_hang_a_worker() -> None:
    started = time.process_time()

    for pattern in ("(x+x+)+y", "(x*)*y", "(a?){50}a{50}$", "x{0,900}y", "(.*)(.*)(.*)(.*)y"):
        found = check("x" * MAX_SEARCHED_CHARACTERS, type="regex", value=pattern)
        assert found.passed is False

    # Well under a second; going back would take for ever.
    assert time.process_time() - started < 30


@pytest.mark.parametrize("pattern", ["(x|y|xy){0,900}$", ".{0,1000}z", "z.{0,900}x.{0,90}y"])
def test_a_large_pattern_searches_short_texts_only(pattern: str) -> None:
    """It is not interruptible, so what might take seconds is not begun."""
    short = check("xy" * 5_000, type="regex", value=pattern)
    long = check("xy" * 50_000, type="regex", value=pattern)

    assert short.passed is pattern.endswith("$")
    assert (long.passed, long.score) == (None, None)
    assert "too large to be searched for in so long a text" in long.reason


def test_a_pattern_of_too_many_instructions_is_refused_when_saved() -> None:
    with pytest.raises(Invalid, match="This pattern is too large"):
        parse([{"type": "regex", "value": ".{900}.{900}.{900}"}])


@pytest.mark.parametrize("type_", ["regex", "rouge-n", "rouge-l", "bleu"])
def test_what_is_longer_than_is_looked_at_is_unscored(type_: str) -> None:
    assert MAX_SEARCHED_CHARACTERS == MAX_COMPARED_CHARACTERS
    found = check("x" * (MAX_COMPARED_CHARACTERS + 1), type=type_, value="y")

    assert found.passed is None
    assert "longer than" in found.reason


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"type": "rouge-n", "value": "x", "n": 0}, "n"),
        ({"type": "rouge-n", "value": "x", "n": 1.5}, "n"),
        ({"type": "rouge-l", "value": "x", "n": 2}, "n"),
        ({"type": "bleu", "value": []}, "value"),
        ({"type": "bleu", "value": ["x"] * 21}, "value"),
        ({"type": "bleu", "value": "x", "threshold": 0}, "threshold"),
        ({"type": "bleu", "value": "x", "provider": "judge"}, "provider"),
    ],
)
def test_what_is_refused_when_saved(raw: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse([raw])

    assert list(caught.value.details) == [f"assertions[0].{field}"]


def test_n_is_kept_and_one_is_the_default() -> None:
    two, one = parse([{"type": "rouge-n", "value": "x", "n": n} for n in (2, 1)])

    assert two.as_json() == {"type": "rouge-n", "value": "x", "n": 2}
    assert one.as_json() == {"type": "rouge-n", "value": "x"}
    assert parse([two.as_json()]) == (two,)
