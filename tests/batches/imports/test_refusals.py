"""What is no case, would run code, or lies elsewhere is refused by name, line and column."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches.imports import files, formats, located_yaml
from batches.imports.files import ImportRefused

TESTS = "prompts: ['{{ q }}']\ntests:\n  - vars: {q: x}\n"
ONE = "tests:\n  - vars: {prompt: x}\n"


def refusal(content: bytes | str, format_: str) -> ImportRefused:
    with pytest.raises(ImportRefused) as caught:
        formats.parse(content, format_=format_)
    return caught.value


@pytest.mark.parametrize(
    ("content", "line", "column", "words"),
    [
        # Code, by name, wherever it may stand.
        (
            ONE + "    assert:\n      - type: python\n        value: 1",
            4,
            15,
            "python would run code",
        ),
        (ONE + "    assert:\n      - {type: not-javascript, value: x}", 4, 16, "javascript would"),
        (
            ONE + "    assert: [{type: equals, value: 'file://a.py'}]",
            3,
            36,
            "file://a.py would run",
        ),
        (
            ONE + "    assert: [{type: equals, value: x, transform: y}]",
            3,
            50,
            "transform would run",
        ),
        (ONE + "    options: {transform: 'output.trim()'}", 3, 26, "options.transform would run"),
        (ONE + "    options:\n      transformVars: x", 4, 22, "options.transformVars would run"),
        (ONE + "    assertScoringFunction: file://x.js", 3, 28, "assertScoringFunction would run"),
        ("extensions: ['file://x.js:go']\n" + ONE, 1, 13, "extensions would run code"),
        ("nunjucksFilters: {up: ./up.js}\n" + ONE, 1, 18, "nunjucksFilters would run"),
        ("prompts: [prompt.py]\n" + ONE, 1, 11, "prompt.py would run code"),
        ("prompts: ['exec:./go']\n" + ONE, 1, 11, "exec:./go would run code"),
        ("tests: !!python/object:os.system x", 1, 8, "!!python/object:os.system"),
        ("tests: !!js/function 'x'", 1, 8, "!!js/function"),
        # Other files and services.
        ("prompts: [file://prompt.txt]\n" + ONE, 1, 11, "not in this file"),
        ("prompts: ['langfuse://x']\n" + ONE, 1, 11, "not in this file"),
        ("tests: file://tests.yaml", 1, 8, "The tests have to be here"),
        ("tests:\n  - file://more.yaml", 2, 5, "no other file is read"),
        ("tests:\n  - vars: x.yaml", 2, 11, "vars is an object"),
        ("tests:\n  - vars: {a: file://a.txt}", 2, 15, "file://a.txt is another file"),
        ("defaultTest: file://x.yaml\n" + ONE, 1, 14, "defaultTest has to be here"),
        # What there is not here.
        (ONE + "    assert: [{type: is-html}]", 3, 21, "There is no assertion is-html"),
        (ONE + "    assert: [{type: assert-set}]", 3, 21, "There is no assertion assert-set"),
        (ONE + "    assert: [{$ref: '#/assertionTemplates/x'}]", 3, 21, "There is no #/assertion"),
        (ONE + "    assert: {type: equals}", 3, 13, "assert is a list"),
        (ONE + "    asert: []", 3, 12, "asert is not supported"),
        (ONE + "    options: {storeOutputAs: x}", 3, 30, "storeOutputAs is not supported"),
        (ONE + "scenarios: []", 3, 12, "scenarios are not supported"),
        (ONE + "    threshold: 2", 3, 16, "from 0 to 1"),
        (ONE + "    metadata: {cluster: []}", 3, 15, "metadata.cluster"),
        ("prompts: ['{{ q | upper }}']\ntests:\n  - vars: {q: x}", 1, 11, "holds names only"),
        ("prompts: ['{{ p }}']\ntests:\n  - vars: {q: x}", 1, 11, "The variable p is not given"),
        ("tests:\n  - vars: {a: x, b: y}", 2, 5, "There is no prompt"),
        ("tests:\n  - vars: {a: '{{ b }}'}", 2, 15, "a template is not supported"),
        ("tests:\n  - vars: {a: {b: [1]}}", 2, 15, "A list inside"),
        ("prompts: [{label: x}]\n" + ONE, 1, 11, "A prompt is a text"),
        ("prompts: [{label: x, raw: a}, {label: x, raw: b}]\n" + ONE, 1, 47, "called x"),
        # YAML that is none, or more than it seems.
        ("tests: [", 2, 1, "not YAML"),
        ("a: 1\n b: 2", 2, 3, "not YAML"),
        ("a: 1\na: 2", 2, 4, "occurs twice"),
        ("a: \x01", 1, 4, "control character"),
        ("a: 1\n---\nb: 2", 2, 1, "one document"),
        ("a: *b", 1, 4, "no anchor b"),
        ("a: &a [*a]", 1, 8, "no anchor a"),
        ("[a]: 1", 1, 1, "A key is a text"),
        ("a: " + "[" * 40, 1, 35, "deeper"),
        ("a: " + "9" * 400, 1, 4, "digits"),
        ("- <<: 1", 1, 7, "Only mappings"),
        ("tests: []", 1, 1, "no case"),
        ("- 5", 1, 3, "A test is an object"),
        ("---\n5", 2, 1, "no configuration"),
    ],
)
def test_yaml_of_promptfoo(content: str, line: int, column: int, words: str) -> None:
    error = refusal(content, "promptfoo")

    assert (error.line, error.column) == (line, column), error.message
    assert words in error.message


@pytest.mark.parametrize("code", ["python", "javascript", "fn", "eval"])
def test_an_expected_cell_with_code_is_refused_naming_the_line(code: str) -> None:
    error = refusal(f"q,__expected\nx,equals: 1\ny,{code}: len(output) > 3\n", "promptfoo")

    assert (error.line, error.column) == (3, 3)
    assert f"{code} would run code" in error.message


@pytest.mark.parametrize(
    ("content", "line", "column", "words"),
    [
        ("q,__expected\nx,file://check.py\n", 2, 3, "would run code"),
        ("q,__expected\nx,file://schema.json\n", 2, 3, "another file"),
        ("q,__expected\nx,is-html\n", 2, 3, "There is no assertion is-html"),
        ("q,__expected\nx,word-count: 5\n", 2, 3, "There is no assertion word-count"),
        ("q,__expected\nx,webhook: https://a\n", 2, 3, "another server"),
        ("q,__expected\nx,latency: 5\n", 2, 3, "threshold"),
        ("q,__expected,__threshold\nx,y,high\n", 2, 5, "a number"),
        ("q,__expected,__config:__expected:threshold\nx,y,z\n", 2, 3, "a number"),
        ("q,__expectde\nx,y\n", 1, 1, "__expectde is not supported"),
        ("p,q\nx,y\n", 1, 1, "There is no prompt"),
        ("prompt,q\nx,file://a.png\n", 2, 3, "another file"),
    ],
)
def test_csv_of_promptfoo(content: str, line: int, column: int, words: str) -> None:
    error = refusal(content, "promptfoo")

    assert (error.line, error.column) == (line, column), error.message
    assert words in error.message


@pytest.mark.parametrize(
    ("content", "line", "column", "words"),
    [
        ("key,prompt\na,x\nb\n", 3, 1, "has 1 cell, the header has 2"),
        ('key,prompt\na,"x\ny"\nb,z,1\n', 4, 5, "has 3 cells, the header has 2"),
        ("key,prompt\na,x\n\nb,y,\n", 4, 5, "has 3 cells"),
        ('prompt\nsay "x"\n', 2, 5, "A quote inside"),
        ('prompt\n"x" y\n', 2, 4, "after a closed quote"),
        ('prompt\nx\n"y\nz\n', 3, 1, "not closed"),
        ("prompt,,x\na,b,c\n", 1, 8, "no name"),
        ("prompt,prompt\na,b\n", 1, 8, "two columns"),
        ("prompt\n", 1, 1, "no case"),
        ("", 1, 1, "no header"),
        ("prompt,weight\nx,heavy\n", 2, 3, "a number"),
        ("prompt,weight\nx,nan\n", 2, 3, "a number from"),
        ("prompt,threshold\nx,3\n", 2, 3, "from 0 to 1"),
        ("prompt,assertions\nx,[\n", 2, 3, "not JSON"),
        ('prompt,assertions\nx,"[{""type"": ""python"", ""value"": 1}]"\n', 2, 3, "would run code"),
        ("key,prompt\na,x\na,y\n", 3, 1, "on line 2 already"),
        ("key,prompt\na,x\nb b,y\n", 3, 1, "A key is"),
        ("prompt,a\n{{ b }},x\n", 2, 1, "variable b"),
        ("prompt,1st\nx,y\n", 2, 3, "A variable's name"),
        ("q,__expected\nx,y\n", 1, 1, "with the format promptfoo"),
        (b"prompt\nx\xff\n", 2, 2, "UTF-8"),
        ("prompt\na\x00\n", 2, 2, "NUL"),
        ("p" + ",p" * 600, 1, 1001, "500 columns"),
    ],
)
def test_csv(content: bytes | str, line: int, column: int, words: str) -> None:
    error = refusal(content, "csv")

    assert (error.line, error.column) == (line, column), error.message
    assert words in error.message


def test_every_bad_row_is_named_once() -> None:
    error = refusal("prompt,weight\nx,0\ny,1\nz,a\n", "csv")

    assert list(error.details) == ["line 2", "line 4"]


@pytest.mark.parametrize(
    ("content", "column", "words"),
    [
        ('{"ideal": "x"}', 1, "has an input"),
        ('{"input": 5, "ideal": "x"}', 11, "a text or a list"),
        ('{"input": [{"role": "tool", "content": "x"}]}', 21, "tool is no role"),
        ('{"input": [{"role": "user", "content": 5}]}', 40, "Content is a text"),
        ('{"input": [{"content": "x"}]}', 12, "role and content"),
        ('{"input": "x", "ideal": {}}', 25, "a list of texts"),
        ('{"input": "x", "ideal": ["a", null]}', 25, "a list of texts"),
        ('{"input": "x", "ideal": ""}', 25, "must not be empty"),
        ('{"input": "", "ideal": "x"}', 11, "must not be empty"),
        ('{"item": {"ideal": "x"}}', 10, "has an input"),
        ("[]", 1, "one JSON object"),
    ],
)
def test_openai_evals(content: str, column: int, words: str) -> None:
    error = refusal('{"input": "fine", "ideal": "x"}\n' + content, "openai-evals")

    assert (error.line, error.column) == (2, column), error.message
    assert words in error.message


@pytest.mark.parametrize(
    ("content", "column", "words"),
    [
        ('{"input": "x", "sandbox": "docker"}', 27, "sandbox would run code"),
        ('{"input": "x", "setup": "rm"}', 25, "setup would run code"),
        ('{"input": "x", "files": {}}', 25, "no field files"),
        ('{"target": "x"}', 1, "a text or a list"),
        ('{"input": "x", "choices": ["a"], "target": "B"}', 44, "one letter of A"),
        ('{"input": "x", "choices": "a", "target": "A"}', 27, "Choices are"),
        ('{"input": "x", "metadata": 5}', 28, "Metadata is an object"),
        ('{"id": "1", "input": "x"}', 8, "on line 1 already"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_inspect(content: str, column: int, words: str, listed: bool) -> None:
    first = '{"id": 1, "input": "fine", "target": "x"}'
    file = f"[{first},\n{content}]" if listed else f"{first}\n{content}"

    error = refusal(file, "inspect")

    assert (error.line, error.column) == (2, column), error.message
    assert words in error.message


def test_a_repeated_id_in_a_list_names_the_line_of_the_first() -> None:
    error = refusal(
        '[\n  {"input": "x", "id": "b"},\n  {"input": "x",\n   "id": "a"},\n'
        '  {"input": "x", "id": "a"}\n]',
        "inspect",
    )

    assert (error.line, error.column) == (5, 24)
    assert "The key a is on line 4 already" in error.message


def test_an_empty_answer_among_several_is_refused() -> None:
    error = refusal('{"input": "x", "ideal": ["a", ""]}', "openai-evals")

    assert (error.line, error.column) == (1, 25)
    assert "must not be empty" in error.message


def test_a_json_list_of_cases_is_told_how_to_be_written() -> None:
    error = refusal('\n [\n{"prompt": "x"}\n]', "jsonl")

    assert (error.line, error.column) == (2, 2)
    assert "without the brackets and commas of a list" in error.message


def test_aliases_are_counted_as_what_they_repeat() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    error = refusal("\n".join(lines), "promptfoo")

    assert error.line == 6
    assert "More than 1,000,000 values" in error.message


def test_aliases_inside_of_each_other_do_not_nest_without_end() -> None:
    lines = ["- &a0 [x]"] + [f"- &a{n} [*a{n - 1}]" for n in range(1, 2000)]

    assert "deeper" in refusal("\n".join(lines), "promptfoo").message


def test_lists_of_variables_do_not_multiply_without_end() -> None:
    ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    variables = "".join(f"      v{n}: {ten}\n" for n in range(9))

    error = refusal(f"prompts: [x]\ntests:\n  - vars:\n{variables}", "promptfoo")

    assert error.line == 3
    assert "1,000,000,000 cases" in error.message


@pytest.mark.parametrize(
    ("module", "limit"), [(files, "MAX_BYTES"), (located_yaml, "MAX_CHARACTERS")]
)
def test_large_files_are_refused_unread(
    monkeypatch: pytest.MonkeyPatch, module: object, limit: str
) -> None:
    monkeypatch.setattr(module, limit, 10)

    assert "at most" in refusal(ONE, "promptfoo").message


WORDS = st.sampled_from(
    ["tests", "vars", "assert", "type", "value", "prompts", "prompt", "input", "ideal", "target",
     "key", "__expected", "python:", "equals", "file://x", "{{ a }}", "&a", "*a", "<<", "!!str",
     ": ", "- ", "\n", "\n  ", "\n    ", ",", ";", '"', "'", "[", "]", "{", "}", "|", "#", "1", "x"]
)  # fmt: skip


@pytest.mark.parametrize("format_", list(formats.FORMATS))
@given(content=st.binary(max_size=200) | st.text(max_size=200) | st.lists(WORDS).map("".join))
def test_any_text_is_read_or_refused_with_a_place(format_: str, content: bytes | str) -> None:
    try:
        parsed = formats.parse(content, format_=format_)
    except ImportRefused as error:
        refused = error
    else:
        assert parsed.drafts
        return

    assert min(refused.line, refused.column) >= 1
    assert refused.details


NAMES = st.sampled_from(
    ["tests", "vars", "assert", "type", "value", "prompts", "raw", "input", "options", "metadata",
     "defaultTest", "threshold", "target", "ideal", "choices", "item", "role", "content", "id",
     "$ref", "prompt", "label", "prefix", "description", "assertionTemplates"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
AROUND = st.sampled_from(
    [
        "%s",
        '{"tests": [%s]}',
        '[{"vars": %s}]',
        '[{"vars": {"prompt": "x"}, "assert": [%s]}]',
        '[{"vars": {"prompt": "x"}, "metadata": %s, "options": %s}]',
        '{"prompts": [%s], "tests": [{"vars": {"a": 1}}]}',
        '{"input": %s}',
        '{"input": "x", "target": %s}',
        '{"input": "x", "ideal": %s}',
    ]
)


@pytest.mark.parametrize("format_", ["promptfoo", "openai-evals", "inspect", "jsonl"])
@given(value=VALUES, around=AROUND)
def test_any_value_is_read_or_refused_with_a_place(
    format_: str, value: object, around: str
) -> None:
    try:
        parsed = formats.parse(around.replace("%s", json.dumps(value)), format_=format_)
    except ImportRefused as error:
        refused = error
    else:
        assert parsed.drafts
        return

    assert min(refused.line, refused.column) >= 1
    assert refused.details
