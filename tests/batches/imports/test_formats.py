"""Files of each format become the cases that their authors meant."""

import json
from pathlib import Path

import pytest

from access.errors import Invalid
from batches import cases, scoring
from batches.cases import CaseDraft
from batches.imports import formats
from batches.imports.files import Options, Parsed
from batches.scoring import Answer

FILES = Path(__file__).parent / "files"


def read(name: str, **options: str) -> Parsed:
    content = (FILES / name).read_bytes()
    return formats.parse(content, name=name, options=Options(**options))


def expects(case: CaseDraft) -> list[dict[str, object]]:
    return [assertion.as_json() for assertion in case.assertions]


def sent(case: CaseDraft) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in cases.rendered(case)]


def scored(case: CaseDraft, output: str) -> tuple[bool | None, float | None]:
    answer = Answer(output, latency_ms=1, cost=None)
    found = scoring.score(
        case.assertions, answer, variables=case.variables, threshold=case.threshold
    )
    return found.passed, found.score


def passes(case: CaseDraft, output: str) -> bool | None:
    return scored(case, output)[0]


def test_a_promptfoo_configuration_with_prompts_defaults_templates_and_lists() -> None:
    parsed = read("translation.yaml")

    greeting, formal, *answers = parsed.drafts
    assert (greeting.key, formal.key) == ("Greeting:prompt-1", "Greeting:formal")
    assert sent(greeting) == [("user", "Translate into French: Hello world")]
    assert sent(formal) == [
        ("system", "You translate formally into French."),
        ("user", "Hello world"),
    ]
    assert expects(greeting) == [
        {"type": "latency", "threshold": 4000},
        {"type": "not-icontains", "value": "sorry", "weight": 0.5},
        {"type": "contains-any", "value": ["Bonjour", "Salut"], "metric": "greeting"},
    ]
    assert (greeting.threshold, formal.threshold) == (0.8, 0.8)
    assert greeting.metadata == {"description": "Greeting", "team": "locale"}
    assert [(case.variables["language"], case.key.partition(":")[2]) for case in answers] == [
        ("German", "prompt-1"),
        ("German", "formal"),
        ("Spanish", "prompt-1"),
        ("Spanish", "formal"),
    ]
    assert len({case.key for case in answers}) == 4
    assert {case.variables["input"] for case in answers} == {"yes"}
    assert all(expects(case) == [{"type": "contains", "value": "{{tone}}"}] for case in answers)
    assert passes(answers[0], "How polite.")
    assert answers[0].metadata == {"team": "answers"}
    assert parsed.notes == (
        "Left out, as it is no part of a case: description.",
        "Left out, as it is no part of a case: providers.",
    )


def test_a_promptfoo_configuration_with_one_prompt_objects_and_merged_variables() -> None:
    first, second = read("questions.yaml").drafts

    assert sent(first) == [("user", "Please. Answer briefly: What is 2 + 2? Ada")]
    assert sent(second) == [("user", 'Please. Answer briefly: Is {"a": 1} JSON? Ada')]
    assert first.variables == {"question": "What is 2 + 2?", "user.name": "Ada", "user.age": 36}
    assert expects(first) == [
        {"type": "equals", "value": "4"},
        {"type": "levenshtein", "value": "four", "threshold": 3},
    ]
    assert expects(second) == [
        {"type": "icontains", "value": "yes"},
        {"type": "cost", "threshold": "0.002"},
    ]


def test_promptfoo_tests_in_csv() -> None:
    france, berlin = read("capitals.csv").drafts

    assert france.key == "France"
    assert sent(france) == [("user", "What is the capital of France?")]
    assert expects(france) == [
        {"type": "contains", "value": "Paris", "metric": "capital"},
        {"type": "not-icontains", "value": "London", "metric": "capital"},
    ]
    assert france.threshold == 0.5
    assert france.metadata == {"description": "France", "level": "easy", "tags": ["geo", "europe"]}
    assert berlin.key.startswith("test-")
    assert sent(berlin) == [("user", "Which city, of the two, is a capital: Bonn or Berlin?")]
    assert expects(berlin) == [
        {"type": "equals", "value": "Berlin"},
        {"type": "levenshtein", "value": "Berlin", "threshold": 3},
        {"type": "contains-any", "value": 'Berlin, "the first, or so"'},
    ]
    assert passes(berlin, "Berlin")
    assert berlin.threshold is None


def test_promptfoo_tests_in_csv_with_a_prompt_from_outside() -> None:
    content = "language,text,__prefix\nFrench,Hello,Now: \n"

    (case,) = formats.parse(
        content, format_="promptfoo", options=Options(prompt="{{ text }} in {{ language }}?")
    ).drafts

    assert sent(case) == [("user", "Now: Hello in French?")]


@pytest.mark.parametrize(
    "content",
    [
        'q,__expected1,__expected2\nx,"icontains-any: Oslo, ROME","not-icontains-all: a, b"\n',
        "prompts: '{{q}}'\ntests:\n- vars: {q: x}\n  assert:\n"
        "  - {type: icontains-any, value: 'Oslo, ROME'}\n"
        "  - {type: not-icontains-all, value: 'a, b'}\n",
    ],
    ids=["csv", "yaml"],
)
def test_several_texts_without_regard_to_case_come_from_promptfoo(content: str) -> None:
    (case,) = formats.parse(content, format_="promptfoo", options=Options()).drafts

    assert expects(case) == [
        {"type": "icontains-any", "value": "Oslo, ROME"},
        {"type": "not-icontains-all", "value": "a, b"},
    ]
    assert passes(case, "Near Rome, I say.")
    assert not passes(case, "Near Rome, by the sea.")
    assert not passes(case, "Paris.")


def test_openai_evals_samples_of_either_shape() -> None:
    parsed = read("match.jsonl")

    chat, text, braces = parsed.drafts
    assert sent(chat) == [
        ("system", "Answer with one word."),
        ("user", "1+1?"),
        ("assistant", "2"),
        ("user", "Capital of France?"),
    ]
    assert expects(chat) == [{"type": "starts-with", "value": "Paris"}]
    assert text.prompt == "Q: Complete: to be or\nA:"
    assert [passes(text, output) for output in ("Not to be.", "not to be", "Or not to be")] == [
        True,
        True,
        False,
    ]
    assert text.metadata == {"source": "play"}
    assert sent(braces) == [("user", "Repeat {{name}} as it is.")]
    assert passes(braces, "{{name}}")
    assert not passes(braces, "name")
    assert parsed.notes == ("Kept as metadata: source.",)


@pytest.mark.parametrize(
    ("scorer", "asserted"),
    [
        ("includes", [{"type": "contains-any", "value": ["not to be", "Not to be"]}]),
        (
            "exact",
            [{"type": "regex", "value": r"\A(?:not to be|Not to be)\z"}],
        ),
    ],
)
def test_openai_evals_samples_with_another_scorer(scorer: str, asserted: object) -> None:
    assert expects(read("match.jsonl", scorer=scorer).drafts[1]) == asserted


@pytest.mark.parametrize(
    ("format_", "scorer", "right", "wrong"),
    [
        ("openai-evals", "match", ["4", "four.", "{{x}} and"], ["It is 4", "for"]),
        ("openai-evals", "includes", ["It is four", "4"], ["It is Four"]),
        ("openai-evals", "exact", ["4", "4 (=2+2)", "{{x}}"], ["4.", "4 ", "4\n", "44 (=2+2)"]),
        ("inspect", "includes", ["It is FOUR", "4"], ["five"]),
        ("inspect", "exact", ["4", "4 (=2+2)"], ["4.", "It is 4"]),
    ],
)
def test_one_of_several_answers_is_wholly_right(
    format_: str, scorer: str, right: list[str], wrong: list[str]
) -> None:
    answers = ["4 (=2+2)", "four", "{{x}}", "4"]
    sample = {"input": "2+2?", "ideal" if format_ == "openai-evals" else "target": answers}

    (case,) = formats.parse(
        json.dumps(sample), format_=format_, options=Options(scorer=scorer)
    ).drafts

    assert [scored(case, output) for output in right] == [(True, 1.0)] * len(right)
    assert [scored(case, output) for output in wrong] == [(False, 0.0)] * len(wrong)


def test_a_sample_may_have_a_hundred_right_answers() -> None:
    sample = {"input": "Name a number.", "ideal": [f"no. {number}" for number in range(100)]}

    (case,) = formats.parse(json.dumps(sample), format_="openai-evals").drafts

    assert scored(case, "no. 99 of them") == (True, 1.0)


@pytest.mark.parametrize("ideal", [None, []])
def test_samples_that_are_not_scored_are_noted(ideal: object) -> None:
    parsed = formats.parse(json.dumps({"input": "x", "ideal": ideal}), format_="openai-evals")

    assert parsed.notes == ("Samples without ideal become cases that are not scored.",)


@pytest.mark.parametrize(
    ("output", "passed"),
    [
        ("So.\nANSWER: A", True),
        ("answer:a", True),
        ("ANSWER: **A**", True),
        ("**ANSWER:** A.", True),
        ("**Answer**: (A)\r\n", True),
        ("ANSWER: A) About equal", True),
        ("ANSWER: A\n\nAnswers may vary: it depends.\nAnswer A is safe.", True),
        ("ANSWER: B\nNo, wait.\nANSWER: A", True),
        ("ANSWER: A\nNo, wait.\n**ANSWER: C**", False),
        ("Answer: about equal, some say, but it is C.\nANSWER: C", False),
        ("Possible: ANSWER: A is tempting but wrong.\nANSWER: C", False),
        ("ANSWER: A is tempting but wrong.\nANSWER: C", False),
        ("ANSWER: A\n(ANSWER: C)", False),
        ("ANSWER: A or B", False),
        ("ANSWER: A, C", False),
        ("ANSWER: AB", False),
        ("A", False),
    ],
)
def test_the_letter_of_the_last_line_with_an_answer_counts(output: str, passed: bool) -> None:
    sample = {"input": "Which?", "choices": ["About equal", "Less", "More"], "target": "A"}

    (case,) = formats.parse(json.dumps(sample), format_="inspect").drafts

    assert passes(case, output) is passed


def test_inspect_samples() -> None:
    capital, choice, either = read("inspect.jsonl").drafts

    assert (capital.key, capital.metadata) == ("7", {"level": 1})
    assert expects(capital) == [{"type": "icontains", "value": "Paris"}]
    assert choice.key.startswith("physics-1-")
    (turn,) = sent(choice)
    assert turn[1].startswith(
        "Which falls faster in a vacuum?\n\nA) A feather\nB) A stone\nC) Neither\n\n"
    )
    assert [passes(choice, output) for output in ("So.\nanswer: c", "ANSWER: A", "C")] == [
        True,
        False,
        False,
    ]
    assert sent(either) == [("user", "Say hello or hi.")]
    assert [passes(either, output) for output in ("Hello!", "Hi", "Bye")] == [True, True, False]


def test_inspect_samples_in_a_json_list() -> None:
    lines = (FILES / "inspect.jsonl").read_text().splitlines()

    listed = formats.parse("[" + ",\n".join(lines) + "]", name="samples.json").drafts

    assert listed == read("inspect.jsonl").drafts


def test_cases_in_csv() -> None:
    parsed = read("cases.csv")

    france, total = parsed.drafts
    assert (france.key, france.expected, france.tags, france.weight, france.cluster) == (
        "france",
        "Paris",
        ("geo", "easy"),
        2,
        "capitals",
    )
    assert sent(france) == [("user", "What is the capital of France?")]
    assert total.prompt == 'What is "1 + 1"?\nAnswer with a number.'
    assert expects(total) == [{"type": "numeric", "value": 2}]
    assert (total.expected, total.tags, total.weight) == (None, (), 1)
    assert parsed.notes == ("Columns that became variables: country.",)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_may_come_from_a_spreadsheet(mark: str, end: str) -> None:
    rows = [["key", "prompt"], ["a", '"x,;\ty"'], ["b", "ü"], []]
    content = "\ufeff" + "".join(mark.join(row) + end for row in rows)

    drafts = formats.parse(content.encode(), format_="csv").drafts

    assert [(case.key, case.prompt) for case in drafts] == [("a", "x,;\ty"), ("b", "ü")]


@pytest.mark.parametrize("name", [path.name for path in FILES.iterdir()])
def test_the_same_file_gives_the_same_keys_and_hashes(name: str) -> None:
    first, again = read(name).drafts, read(name).drafts

    assert first == again
    assert [cases.content_hash(case) for case in first] == [
        cases.content_hash(case) for case in again
    ]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("questions.yaml", "value: four", "value: vier"),
        ("questions.yaml", "Answer briefly", "Answer at length"),
        ("capitals.csv", "contains: Paris", "equals: Paris"),
        ("match.jsonl", '"ideal": "Paris"', '"ideal": "Lyon"'),
        ("inspect.jsonl", '"target": "Paris"', '"target": "Lyon"'),
    ],
)
def test_a_correction_changes_the_case_and_not_its_key(name: str, old: str, new: str) -> None:
    text = (FILES / name).read_text()
    assert old in text

    corrected = formats.parse(text.replace(old, new), name=name).drafts

    before = read(name).drafts
    assert [case.key for case in corrected] == [case.key for case in before]
    assert corrected != before


def test_tests_that_only_differ_in_what_they_expect_get_numbers() -> None:
    test = "- vars: {prompt: Hi}\n  assert: [{type: contains, value: %s}]\n"

    first, second = formats.parse(test % "a" + test % "b", format_="promptfoo").drafts

    assert second.key == f"{first.key}-2"


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("a.YAML", "x", "promptfoo"),
        ("a.csv", "a,__expected\n", "promptfoo"),
        ("a.csv", "key,prompt\n", "csv"),
        ("a.jsonl", '{"prompt": "x"}\n', "jsonl"),
        ("a.jsonl", '{"input": "x", "ideal": "y"}\n', "openai-evals"),
        ("a.jsonl", '{"input": "x", "target": "y"}\n', "inspect"),
        ("a.jsonl", "{", "jsonl"),
        ("a.json", "[]", "inspect"),
        ("a.json", '[{"input": "x", "target": "y"}]', "inspect"),
        ("a.json", '[\n{"key": "a", "prompt": "x"}]', "jsonl"),
        ("a.json", '[{"messages": []}]', "jsonl"),
        ("a.json", '[{"prompt": ', "inspect"),
    ],
)
def test_the_format_is_told_by_the_file(name: str, content: str, format_: str) -> None:
    assert formats.guessed(content, name) == format_


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "a.txt"}, "format"),
        ({"format_": "xlsx"}, "format"),
        ({"format_": "inspect", "options": Options(scorer="match")}, "scorer"),
    ],
)
def test_what_cannot_be_told_is_asked_for(given: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        formats.parse("x", **given)  # type: ignore[arg-type]

    assert list(caught.value.details) == [field]
