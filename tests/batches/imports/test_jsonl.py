import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.errors import Invalid
from batches.cases import CaseDraft, content_hash, draft
from batches.imports import files, jsonl
from batches.imports.files import ImportRefused
from batches.imports.jsonl import dump


def parse(content: bytes | str) -> list[CaseDraft]:
    return jsonl.parse(content).drafts


def refusal(content: bytes | str) -> ImportRefused:
    with pytest.raises(ImportRefused) as caught:
        parse(content)
    return caught.value


def test_one_case_a_line_in_their_order() -> None:
    drafts = parse('{"key": "b", "prompt": "1"}\n{"key": "a", "prompt": "2"}\n')

    assert [(case.key, case.prompt) for case in drafts] == [("b", "1"), ("a", "2")]


def test_blank_lines_line_ends_and_a_byte_order_mark_are_passed_over() -> None:
    content = b'\xef\xbb\xbf\r\n{"prompt": "1"}\r\n  \t\n{"prompt": "2"}'

    assert [case.prompt for case in parse(content)] == ["1", "2"]
    assert parse(content.decode()) == parse(content)


def test_characters_that_only_look_like_line_ends_stay_in_their_text() -> None:
    prompt = "a\u2028b\x85c\u2029d"

    (case,) = parse(json.dumps({"prompt": prompt}, ensure_ascii=False))

    assert case.prompt == prompt


@pytest.mark.parametrize(
    ("content", "line", "column", "words"),
    [
        (b"", 1, 1, "no case"),
        (b"\n \n", 1, 1, "no case"),
        (b'{"prompt": "x",}', 1, None, "not JSON"),
        (b'{"prompt": "x"}\n\n{"prompt": x}', 3, 12, "not JSON"),
        (b'{"prompt": "x"}\n"prompt"', 2, 1, "one JSON object"),
        (b'[{"prompt": "x"}]', 1, 1, "one JSON object"),
        (b'{"prompt": "x"}\n{"prompt": "\xff"}', 2, 13, "UTF-8"),
        (b'{"prompt": "\xc3\xa9", "prompt": "x"}', 1, 17, "occurs twice"),
        (b'{"prompt": "x", "weight": NaN}', 1, 27, "NaN"),
        (b'{"prompt": "x", "weight": ' + b"9" * 5000 + b"}", 1, 27, "1,000 digits"),
        (b"[" * 100_000, 1, 33, "deeper"),
        (b'{"a":' * 100_000, 1, 161, "deeper"),
        (b'{"prompt": "\\u0000"}', 1, 13, "NUL"),
        (b'{"prompt": "\\ud800"}', 1, 13, "surrogate"),
        (b'{"prompt": "x", "tags": ["a", 1]}', 1, 31, "tags[1]"),
        (
            b'{"prompt": "x", "assertions": [{"type": "is", "value": 1}, {"type": "python"}]}',
            1,
            41,
            "assertions[0].type: There is no assertion is",
        ),
        (b'{"prompt": "{{q}}"}', 1, 12, "variable q"),
        (b'{"variables": {}}', 1, 1, "prompt"),
    ],
)
def test_a_bad_line_is_named_with_line_and_column(
    content: bytes, line: int, column: int | None, words: str
) -> None:
    error = refusal(content)

    assert error.line == line
    assert column in (None, error.column)
    assert error.message.startswith(f"Line {line}, column {error.column}: ")
    assert words in error.message
    assert list(error.details) == [f"line {line}"]
    assert isinstance(error, Invalid)


def test_an_import_is_all_or_nothing_and_names_every_bad_line() -> None:
    error = refusal('{"prompt": "ok"}\n{"prompt": 1, "weight": 0}\n{"prompt": "ok2"}\n{')

    assert list(error.details) == ["line 2", "line 4"]
    assert error.details["line 2"] == [
        "Column 12, prompt: This must be a text.",
        "Column 25, weight: A weight is more than 0: to leave a case out, remove it.",
    ]


def test_a_file_that_is_bad_throughout_is_given_up_early() -> None:
    error = refusal("x\n" * 50_000)

    assert len(error.details) == files.MAX_BAD_CASES


def test_a_file_that_is_hard_to_look_through_is_given_up_after_a_line() -> None:
    line = '{"metadata": [' + "0," * 600_000 + "0]}\n"

    error = refusal(line * 20)

    assert list(error.details) == ["line 1"]


def test_a_key_that_occurs_twice_is_refused_naming_both_lines() -> None:
    error = refusal('{"key": "a", "prompt": "1"}\n\n{"prompt": "2", "key": "a"}')

    assert (error.line, error.column) == (3, 24)
    assert "line 1" in error.message


def test_a_line_that_occurs_twice_is_refused_as_a_repeated_key() -> None:
    error = refusal('{"prompt": "1"}\n{"tags": ["t"], "prompt": "1"}')

    assert error.line == 2
    assert "line 1" in error.message


def test_more_cases_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_CASES", 2)
    lines = [json.dumps({"prompt": str(number)}) for number in range(3)]

    assert len(parse("\n".join(lines[:2]) + "\n\n")) == 2
    error = refusal("\n".join(lines))
    assert error.line == 3
    assert "at most 2 cases" in error.message


@pytest.mark.parametrize("convert", [bytes, bytes.decode])
def test_a_file_over_the_limit_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch, convert: Callable[[bytes], bytes | str]
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 10)

    assert "at most" in refusal(convert(b'{"prompt": "x"}')).message


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00{}"), min_size=1, max_size=15)
WORDS = TEXT.filter(str.strip)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(-1e300, 1e300)
SCALARS = st.booleans() | NUMBERS | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
WEIGHTS = st.floats(0.001, 1000) | st.integers(1, 9)
ASSERTIONS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["contains", "not-icontains", "levenshtein"]), "value": WORDS},
        optional={"weight": WEIGHTS, "metric": WORDS},
    ),
    st.fixed_dictionaries({"type": st.just("equals"), "value": VALUES}),
    st.fixed_dictionaries(
        {"type": st.just("numeric"), "value": NUMBERS}, optional={"tolerance": st.floats(0, 10)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("cost"), "threshold": st.decimals(0, 9, places=6).map(str)}
    ),
)
RAW_CASES = st.fixed_dictionaries(
    {},
    optional={
        "variables": st.dictionaries(st.sampled_from(["a", "b c", "ü"]), SCALARS),
        "expected": SCALARS,
        "assertions": st.lists(ASSERTIONS, max_size=3),
        "tags": st.lists(WORDS, max_size=3),
        "weight": WEIGHTS,
        "threshold": st.floats(0, 1),
        "metadata": st.dictionaries(TEXT, VALUES, max_size=3).filter(lambda d: "cluster" not in d),
    },
).flatmap(
    lambda rest: st.one_of(
        WORDS.map(lambda prompt: {**rest, "prompt": prompt}),
        st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["system", "user", "assistant"]), "content": WORDS}
            ),
            min_size=1,
            max_size=3,
        ).map(lambda messages: {**rest, "messages": messages}),
    )
)


@given(st.lists(RAW_CASES.map(draft), min_size=1, max_size=4, unique_by=lambda case: case.key))
def test_importing_an_export_gives_the_same_cases_with_the_same_hashes(
    drafts: list[CaseDraft],
) -> None:
    exported = "".join(dump(drafts))

    again = parse(exported.encode())

    assert again == drafts
    assert [content_hash(case) for case in again] == [content_hash(case) for case in drafts]
    assert "".join(dump(again)) == exported


@given(st.binary(max_size=200) | st.text('{}[]",:\n prompt0', max_size=200))
def test_any_file_is_read_or_refused(content: bytes | str) -> None:
    try:
        drafts = parse(content)
    except ImportRefused as error:
        line, column = error.line, error.column
    else:
        assert drafts
        return

    assert min(line, column) >= 1


def test_an_export_says_nothing_that_goes_without_saying() -> None:
    (line,) = dump([draft({"key": "k", "prompt": "é", "threshold": 0, "expected": ""})])

    assert line == '{"key": "k", "prompt": "é", "expected": "", "threshold": 0}\n'
