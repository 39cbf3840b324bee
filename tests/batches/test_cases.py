import json

import pytest

from access.errors import Invalid
from batches.cases import FIELDS, content_hash, draft, rendered

FULL: dict[str, object] = {
    "key": "capital:fr-1",
    "prompt": "What is the capital of {{ country }}?",
    "variables": {"country": "France", "year": 2024.0, "formal": True, "note": ""},
    "expected": "Paris",
    "assertions": [{"type": "contains", "value": "{{ country }}", "weight": 2}],
    "tags": ["geo", " easy ", "geo"],
    "weight": 2.0,
    "threshold": 0.5,
    "metadata": {"cluster": 7, "source": {"page": 12}},
}


def refused(changes: dict[str, object], *, path: str = "") -> dict[str, list[str]]:
    """Return the complaints about a good case with `changes`; None takes a field away."""
    with pytest.raises(Invalid) as caught:
        draft({**FULL, **changes}, path=path)
    return caught.value.details


def test_a_full_case_is_kept_as_it_was_meant() -> None:
    case = draft(FULL)

    assert case.key == "capital:fr-1"
    assert case.messages is None
    assert case.variables == {"country": "France", "year": 2024, "formal": True, "note": ""}
    assert case.tags == ("geo", "easy")
    assert case.weight == 2
    assert case.cluster == "7"
    assert case.assertions[0].weight == 2


def test_the_least_a_case_needs_is_a_prompt() -> None:
    case = draft({"prompt": "Say hello."})

    assert case.key == f"case-{content_hash(case)[:12]}"
    assert (case.weight, case.threshold, case.expected) == (1, None, None)
    assert (case.assertions, case.tags, case.variables, case.metadata) == ((), (), {}, {})


def test_null_counts_as_left_out() -> None:
    assert draft({**dict.fromkeys(FIELDS), "prompt": "x"}) == draft({"prompt": "x"})


def test_a_case_is_read_back_from_what_rows_keep() -> None:
    case = draft(FULL)

    stored = json.loads(json.dumps(case.as_json()))

    assert set(stored) == set(FIELDS)
    assert draft(stored) == case
    assert content_hash(draft(stored)) == content_hash(case)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"messages": [{"role": "user", "content": "x"}]}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "x\x00"}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "x" * 400_001}, "prompt"),
        ({"prompt": "{{ town }}"}, "prompt"),
        ({"prompt": "{{ country | upper }}"}, "prompt"),
        ({"prompt": "{{\n}}"}, "prompt"),
        ({"prompt": "{% for x in y %}"}, "prompt"),
        ({"prompt": "{# hidden #}"}, "prompt"),
        ({"key": "with blank"}, "key"),
        ({"key": ""}, "key"),
        ({"key": "a\n"}, "key"),
        ({"key": "k" * 129}, "key"),
        ({"key": 7}, "key"),
        ({"variables": []}, "variables"),
        ({"variables": {f"v{i}": 1 for i in range(201)}}, "variables"),
        ({"variables": {"country": "x" * 300_000, "b": "x" * 100_001}}, "variables"),
        ({"variables": {"country": ["France"]}}, "variables.country"),
        ({"variables": {"country": None}}, "variables.country"),
        ({"variables": {"country": float("nan")}}, "variables.country"),
        ({"variables": {"country": float("-inf")}}, "variables.country"),
        ({"variables": {"country": 10**301}}, "variables.country"),
        ({"variables": {"country": "\udfff"}}, "variables.country"),
        ({"variables": {"2nd": "x"}}, "variables.2nd"),
        ({"variables": {"a}}": "x"}}, "variables.a}}"),
        ({"variables": {"": "x"}}, "variables"),
        ({"variables": {"n" * 65: "x"}}, f"variables.{'n' * 60}…"),
        ({"expected": ["Paris"]}, "expected"),
        ({"expected": "x" * 100_001}, "expected"),
        ({"expected": "{{ town }}", "assertions": []}, "expected"),
        ({"assertions": {}}, "assertions"),
        ({"assertions": [{"type": "python", "value": "1"}]}, "assertions[0].type"),
        ({"assertions": [{"type": "equals", "value": "{{town}}"}]}, "assertions[0].value"),
        ({"tags": "geo"}, "tags"),
        ({"tags": ["a"] * 51}, "tags"),
        ({"tags": ["geo", ""]}, "tags[1]"),
        ({"tags": ["x" * 65]}, "tags[0]"),
        ({"tags": [1]}, "tags[0]"),
        ({"weight": 0}, "weight"),
        ({"weight": -1}, "weight"),
        ({"weight": "2"}, "weight"),
        ({"weight": True}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": 10**400}, "weight"),
        ({"threshold": 1.01}, "threshold"),
        ({"threshold": -0.01}, "threshold"),
        ({"threshold": "0.5"}, "threshold"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": "x" * 20_001}}, "metadata"),
        ({"metadata": {"a": [[[[[[[[1]]]]]]]]}}, "metadata"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"metadata": {"a\x00": 1}}, "metadata"),
        ({"metadata": {"cluster": ["a"]}}, "metadata.cluster"),
        ({"metadata": {"cluster": True}}, "metadata.cluster"),
        ({"metadata": {"cluster": "x" * 129}}, "metadata.cluster"),
        ({"promt": "x"}, "promt"),
    ],
)
def test_bad_fields_are_refused_by_their_path(changes: dict[str, object], field: str) -> None:
    assert list(refused(changes)) == [field]
    assert list(refused(changes, path="cases[3]")) == [f"cases[3].{field}"]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([{"role": "user", "content": "x"}] * 201, "messages"),
        ([{"role": "user", "content": "x" * 300_000}] * 2, "messages"),
        (["hello"], "messages[0]"),
        ([{"role": "user"}], "messages[0]"),
        ([{"role": "user", "content": "x", "name": "y"}], "messages[0]"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content"),
        ([{"role": "system", "content": "x"}, {"role": "user", "content": "{{q}}"}],
         "messages[1].content"),
    ],
)  # fmt: skip
def test_bad_messages_are_refused_by_their_path(messages: object, field: str) -> None:
    assert list(refused({"prompt": None, "messages": messages})) == [field]


def test_all_complaints_come_at_once_and_the_first_is_the_message() -> None:
    with pytest.raises(Invalid) as caught:
        draft({"prompt": "x", "weight": 0, "tags": [1, 2], "wieght": 1})

    assert set(caught.value.details) == {"weight", "tags[0]", "tags[1]", "wieght"}
    assert caught.value.message == "wieght: A case has no field wieght."


def test_a_missing_variable_is_named_with_those_that_are_given() -> None:
    (sentence,) = refused({"prompt": "{{ town }}"})["prompt"]

    assert "town" in sentence
    assert "country" in sentence


def test_a_prompt_is_rendered_as_a_message_of_the_user() -> None:
    case = draft(
        {
            "prompt": "{{country}}, {{ year }}, {{ formal }}, [{{note}}], {{half}}",
            "variables": {**FULL["variables"], "half": 0.5},  # type: ignore[dict-item]
        }
    )

    assert rendered(case) == [{"role": "user", "content": "France, 2024, true, [], 0.5"}]


def test_messages_are_rendered_turn_by_turn() -> None:
    case = draft(
        {
            "messages": [
                {"role": "system", "content": "Answer in {{ language }}."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "{{language}}?"},
            ],
            "variables": {"language": "Latin"},
        }
    )

    assert [turn["content"] for turn in rendered(case)] == [
        "Answer in Latin.",
        "Hello",
        "Latin?",
    ]


@pytest.mark.parametrize(
    "prompt", ['{"a": {"b": {}}}', "{ {x} }", "{{{x}", "}}{{", "{{ a", "100 % {sure%", "{#anchor}"]
)
def test_braces_that_are_no_tag_stay(prompt: str) -> None:
    assert rendered(draft({"prompt": prompt}))[0]["content"] == prompt


def test_text_that_must_keep_its_braces_comes_in_as_a_variable() -> None:
    case = draft({"prompt": "Explain {{code}}!", "variables": {"code": "{{ x | upper }} {% if %}"}})

    assert rendered(case)[0]["content"] == "Explain {{ x | upper }} {% if %}!"


def test_expected_beside_assertions_is_a_note_and_may_hold_anything() -> None:
    case = draft(
        {
            "prompt": "x",
            "expected": "{{ anything | at all }}",
            "assertions": [{"type": "contains", "value": "a"}],
        }
    )

    assert case.expected == "{{ anything | at all }}"


@pytest.mark.parametrize(("expected", "kept"), [(4, "4"), (4.0, "4"), (True, "true"), ("", "")])
def test_expected_scalars_are_taken_as_text(expected: object, kept: str) -> None:
    assert draft({"prompt": "x", "expected": expected}).expected == kept


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "What is the capital city of {{ country }}?"},
        {"variables": {"country": "Spain"}},
        {"variables": {**FULL["variables"], "formal": 1}},  # type: ignore[dict-item]
        {"expected": "paris"},
        {"expected": None},
        {"assertions": [{"type": "contains", "value": "{{ country }}"}]},
        {"assertions": [{"type": "not-contains", "value": "{{ country }}", "weight": 2}]},
        {"threshold": 0.51},
        {"weight": 1},
        {"metadata": {"cluster": 8}},
    ],
)
def test_the_hash_changes_with_the_meaning(change: dict[str, object]) -> None:
    assert content_hash(draft({**FULL, **change})) != content_hash(draft(FULL))


@pytest.mark.parametrize(
    "change",
    [
        {"key": "another"},
        {"tags": []},
        {"metadata": {"cluster": "7", "reviewed": "yes"}},
        {"weight": 2},
        {"variables": dict(reversed(list(FULL["variables"].items())))},  # type: ignore[attr-defined]
        {"assertions": [{"weight": 2.0, "value": "{{ country }}", "type": "contains"}]},
    ],
)
def test_the_hash_stays_where_the_meaning_does(change: dict[str, object]) -> None:
    assert content_hash(draft({**FULL, **change})) == content_hash(draft(FULL))


def test_the_hash_is_the_same_for_ever() -> None:
    # Stored with every result: a change here makes every past result incomparable.
    assert content_hash(draft(FULL)) == (
        "845cb31c53ef86f5853271f76b211da513de9ab0474fb04f01e8bef3bfdd580e"
    )


def test_numbers_hash_alike_before_and_after_postgresql_wrote_them_out() -> None:
    raw = {"prompt": "x", "variables": {"big": 1e100, "small": 1e-7, "zero": -0.0}}
    written_out = {
        "prompt": "x",
        "variables": json.loads('{"big": 1%s, "small": 0.0000001, "zero": 0.0}' % ("0" * 100)),
    }

    assert content_hash(draft(raw)) == content_hash(draft(written_out))


def test_a_derived_key_follows_the_content() -> None:
    first, again = draft({"prompt": "x"}), draft({"prompt": "x", "tags": ["new"]})

    assert first.key == again.key
    assert first.key != draft({"prompt": "y"}).key
