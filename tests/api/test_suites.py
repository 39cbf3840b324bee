"""Test suites and their cases over the API: versions, imports, exports."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from access.actors import Actor
from batches import suites
from batches.models import TestCase, TestSuite
from batches.views import ImportCases
from tests.clients import Api
from tests.factories import make_actor, make_schedule, make_suite

ONE = {"key": "one", "prompt": "Say 1.", "assertions": [{"type": "contains", "value": "1"}]}
TWO = {"key": "two", "prompt": "Say 2.", "expected": "2", "tags": ["b"]}
THREE = {"key": "three", "messages": [{"role": "user", "content": "Say 3."}], "weight": 2}


def _lines(*cases: dict[str, Any]) -> str:
    return "".join(json.dumps(case) + "\n" for case in cases)


@pytest.fixture
def suite(actor: Actor) -> TestSuite:
    return make_suite(actor, cases=0)


def _import(api: Api, suite: TestSuite, *cases: dict[str, Any], **options: Any) -> Any:
    body = {"format": "jsonl", "content": _lines(*cases)} | options
    return api.create(f"test-suites/{suite.pk}/import", body)


def _shown(api: Api, suite: TestSuite) -> dict[str, Any]:
    shown: dict[str, Any] = api.read(f"test-suites/{suite.pk}").json()
    return shown


def _keys(api: Api, suite: TestSuite) -> list[str]:
    return [row["key"] for row in api.read(f"test-suites/{suite.pk}/cases").json()["results"]]


# --- Suites ----------------------------------------------------------------------------------


def test_a_new_suite_is_empty(api: Api) -> None:
    shown = api.create("test-suites", {"name": "New", "description": "What it is for."}).json()

    assert (shown["version"], shown["case_count"], shown["content_hash"]) == (0, 0, "")
    assert shown["description"] == "What it is for."


def test_a_name_is_taken_once_in_a_project(api: Api, actor: Actor) -> None:
    make_suite(make_actor(), name="Name")
    answers = [api.create("test-suites", {"name": "Name"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 400]
    assert list(answers[1].json()["details"]) == ["name"]


def test_a_suite_that_a_schedule_uses_stays(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, name="Nightly")

    answer = api.remove(f"test-suites/{schedule.suite_id}")

    assert answer.status_code == 409
    assert "'Nightly'" in answer.json()["message"]
    assert TestSuite.objects.filter(schedules=schedule).exists()


def test_a_suite_goes_with_its_cases(api: Api, actor: Actor) -> None:
    suite = make_suite(actor)

    assert api.remove(f"test-suites/{suite.pk}").status_code == 204
    assert not TestCase.objects.exists()
    assert api.read(f"test-suites/{suite.pk}/cases").status_code == 404


# --- Cases -----------------------------------------------------------------------------------


def test_a_case_is_added_in_a_new_version(api: Api, suite: TestSuite) -> None:
    answer = api.create(f"test-suites/{suite.pk}/cases", TWO)

    assert answer.status_code == 201
    case = answer.json()
    assert (case["key"], case["expected"], case["tags"], case["weight"]) == ("two", "2", ["b"], 1)
    assert (case["added_in"], case["suite_id"]) == (1, str(suite.pk))
    shown = _shown(api, suite)
    assert (shown["version"], shown["case_count"]) == (1, 1)
    assert len(shown["content_hash"]) == 64


def test_a_case_without_a_key_is_called_after_its_content(api: Api, suite: TestSuite) -> None:
    made = [api.create(f"test-suites/{suite.pk}/cases", {"prompt": "Hello"}) for _ in range(2)]

    assert made[0].json()["key"].startswith("case-")
    assert made[0].json()["id"] == made[1].json()["id"]
    assert _shown(api, suite)["version"] == 1


def test_an_edit_makes_a_new_row_and_a_new_version(api: Api, suite: TestSuite) -> None:
    _import(api, suite, ONE, TWO)
    before, hash_before = _keys(api, suite), _shown(api, suite)["content_hash"]
    old = api.read(f"test-suites/{suite.pk}/cases").json()["results"][0]

    new = api.change(f"test-suites/{suite.pk}/cases/{old['id']}", {"prompt": "Say one."}).json()

    assert new["id"] != old["id"]
    assert (new["key"], new["prompt"]) == ("one", "Say one.")
    assert new["assertions"] == old["assertions"]
    assert new["content_hash"] != old["content_hash"]
    # It keeps its place, and the row that runs have used is left as it was.
    assert _keys(api, suite) == before
    shown = _shown(api, suite)
    assert (shown["version"], shown["case_count"]) == (2, 2)
    assert shown["content_hash"] != hash_before
    kept = TestCase.objects.get(pk=old["id"])
    assert (kept.prompt, kept.added_in, kept.removed_in) == ("Say 1.", 1, 2)


def test_an_edit_that_changes_nothing_makes_no_version(api: Api, suite: TestSuite) -> None:
    case = api.create(f"test-suites/{suite.pk}/cases", ONE).json()

    again = api.change(f"test-suites/{suite.pk}/cases/{case['id']}", {"prompt": "Say 1."}).json()

    assert again == case
    assert _shown(api, suite)["version"] == 1


def test_a_row_that_was_edited_is_edited_no_more(api: Api, suite: TestSuite) -> None:
    case = api.create(f"test-suites/{suite.pk}/cases", ONE).json()
    path = f"test-suites/{suite.pk}/cases/{case['id']}"
    api.change(path, {"prompt": "Say one."})

    assert api.read(path).json()["prompt"] == "Say 1."
    assert api.change(path, {"prompt": "Say uno."}).status_code == 404
    assert api.remove(path).status_code == 404


def test_a_case_is_taken_out_in_a_new_version(api: Api, suite: TestSuite) -> None:
    _import(api, suite, ONE, TWO)
    case = api.read(f"test-suites/{suite.pk}/cases").json()["results"][0]

    assert api.remove(f"test-suites/{suite.pk}/cases/{case['id']}").status_code == 204
    assert _keys(api, suite) == ["two"]
    assert (_shown(api, suite)["version"], _shown(api, suite)["case_count"]) == (2, 1)


def test_the_same_content_has_the_same_hash_anywhere(api: Api, actor: Actor) -> None:
    first, second = make_suite(actor, cases=3), make_suite(actor, cases=3)

    assert _shown(api, first)["content_hash"] == _shown(api, second)["content_hash"]


@pytest.mark.parametrize(
    ("case", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "x", "messages": []}, "messages"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "y"}]}, "prompt"),
        ({"prompt": "x", "key": "with blank"}, "key"),
        ({"prompt": "x", "nonsense": 1}, "nonsense"),
        ({"prompt": "x", "weight": 0}, "weight"),
        ({"prompt": "x", "weight": 10**600}, "weight"),
        ({"prompt": "x", "threshold": 1.1}, "threshold"),
        ({"prompt": "x", "tags": "a"}, "tags"),
        ({"prompt": "{{ missing }}"}, "prompt"),
        ({"prompt": "x", "assertions": [{"type": "unheard-of"}]}, "assertions[0].type"),
        ({"prompt": "x", "assertions": [{"value": "1"}]}, "assertions[0].type"),
        ({"prompt": "x", "assertions": ["contains"]}, "assertions[0]"),
    ],
    ids=str,
)
def test_a_bad_case_is_refused_by_its_field(
    case: dict[str, Any], field: str, api: Api, suite: TestSuite
) -> None:
    answer = api.create(f"test-suites/{suite.pk}/cases", case)

    assert answer.status_code == 400
    assert field in answer.json()["details"]
    assert not TestCase.objects.exists()


@pytest.mark.parametrize("kind", ["python", "javascript", "not-python", "not-javascript"])
def test_what_would_run_code_is_refused_by_name(kind: str, api: Api, suite: TestSuite) -> None:
    case = {"prompt": "x", "assertions": [{"type": kind, "value": "import os"}]}

    for answer in (
        api.create(f"test-suites/{suite.pk}/cases", case),
        _import(api, suite, case),
    ):
        assert answer.status_code == 400
        assert kind.removeprefix("not-") in answer.content.decode()
        assert "code" in answer.json()["message"]


# --- Imports ---------------------------------------------------------------------------------


def test_an_import_says_what_it_did(api: Api, suite: TestSuite) -> None:
    answer = _import(api, suite, ONE, TWO)

    assert answer.status_code == 200
    assert answer.json() == {"added": 2, "changed": 0, "removed": 0, "unchanged": 0, "version": 1}
    assert _keys(api, suite) == ["one", "two"]


def test_the_same_import_twice_changes_nothing(api: Api, suite: TestSuite) -> None:
    _import(api, suite, ONE, TWO, THREE)
    before, rows = _shown(api, suite), set(TestCase.objects.values_list("pk", flat=True))

    again = _import(api, suite, ONE, TWO, THREE).json()

    assert again == {"added": 0, "changed": 0, "removed": 0, "unchanged": 3, "version": 1}
    assert _shown(api, suite) == before
    assert set(TestCase.objects.values_list("pk", flat=True)) == rows


def test_an_import_changes_what_differs_and_leaves_the_rest(api: Api, suite: TestSuite) -> None:
    _import(api, suite, ONE, TWO)

    done = _import(api, suite, TWO | {"expected": "two"}, THREE).json()

    assert done == {"added": 1, "changed": 1, "removed": 0, "unchanged": 0, "version": 2}
    assert _keys(api, suite) == ["one", "two", "three"]


def test_an_import_that_replaces_takes_out_what_it_lacks(api: Api, suite: TestSuite) -> None:
    _import(api, suite, ONE, TWO)

    done = _import(api, suite, TWO, THREE, replace=True).json()

    assert done == {"added": 1, "changed": 0, "removed": 1, "unchanged": 1, "version": 2}
    assert _keys(api, suite) == ["two", "three"]


def test_an_import_is_all_or_nothing_and_names_line_and_column(api: Api, suite: TestSuite) -> None:
    content = _lines(ONE) + '{"prompt": "x", "wieght": 2}\n' + _lines(TWO) + '{"prompt": 5}\n'

    answer = _import(api, suite, content=content)

    assert answer.status_code == 400
    details = answer.json()["details"]
    assert list(details) == ["line 2", "line 4"]
    assert "Column 27, wieght" in details["line 2"][0]
    assert not TestCase.objects.exists()
    assert _shown(api, suite)["version"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"format": "xlsx"},
        {"format": None},
        {"content": None},
        {"content": ""},
        {"content": "\n \n"},
        {"content": "not json"},
        {"content": _lines(ONE, ONE)},
        {"replace": "perhaps"},
        {"mode": "append"},
    ],
    ids=str,
)
def test_an_import_that_is_none_is_400(options: dict[str, Any], api: Api, suite: TestSuite) -> None:
    answer = _import(api, suite, ONE, **options)

    assert answer.status_code == 400
    assert answer.json()["details"]
    assert not TestCase.objects.exists()


def test_thousands_of_cases_are_one_version(api: Api, suite: TestSuite) -> None:
    content = _lines(
        *(ONE | {"key": f"case-{number}", "prompt": f"Say {number}."} for number in range(5_000))
    )

    answers = [_import(api, suite, content=content).json() for _ in range(2)]

    assert answers[0]["added"] == answers[1]["unchanged"] == 5_000
    assert _shown(api, suite)["version"] == 1


def test_a_dry_run_says_what_would_happen_and_changes_nothing(api: Api, suite: TestSuite) -> None:
    _import(api, suite, ONE, TWO)
    before = _shown(api, suite)

    found = _import(api, suite, TWO | {"expected": "two"}, THREE, replace=True, dry_run=True).json()

    cases = found.pop("cases")
    assert found == {"added": 1, "changed": 1, "removed": 1, "unchanged": 0, "version": 2}
    assert [(case["key"], case["change"]) for case in cases] == [
        ("two", "changed"),
        ("three", "added"),
    ]
    assert (cases[0]["expected"], cases[1]["messages"]) == ("two", THREE["messages"])
    assert _shown(api, suite) == before
    assert TestCase.objects.count() == 2


def test_a_dry_run_of_what_is_there_already_makes_no_version(api: Api, suite: TestSuite) -> None:
    _import(api, suite, ONE)

    found = _import(api, suite, ONE, dry_run=True).json()

    assert (found["version"], found["unchanged"]) == (1, 1)
    assert found["cases"][0]["change"] == "unchanged"


def test_a_dry_run_is_refused_like_the_import(api: Api, suite: TestSuite) -> None:
    answers = [_import(api, suite, ONE, {}, dry_run=dry_run) for dry_run in (True, False)]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].json()["details"] == answers[1].json()["details"]


@pytest.mark.parametrize(
    ("format_", "content", "options"),
    [
        ("csv", "key,prompt\none,Say 1.\n", {}),
        ("promptfoo", "tests: [{description: one, vars: {prompt: Say 1.}}]", {}),
        ("promptfoo", "q,__description\nSay 1.,one\n", {"prompt": "{{ q }}"}),
        ("openai-evals", '{"input": "Say 1.", "ideal": "1"}', {"scorer": "includes"}),
        ("inspect", '{"id": "one", "input": "Say 1.", "target": "1"}', {}),
    ],
)
def test_other_formats_are_imported_once(
    format_: str, content: str, options: dict[str, str], api: Api, suite: TestSuite
) -> None:
    answers = [
        _import(api, suite, format=format_, content=content, **options).json() for _ in range(2)
    ]

    assert [(done["added"], done["unchanged"], done["version"]) for done in answers] == [
        (1, 0, 1),
        (0, 1, 1),
    ]


def test_what_is_left_out_of_a_file_is_said(api: Api, suite: TestSuite) -> None:
    content = "providers: [x]\ntests: [{vars: {prompt: Say 1.}}]"

    done = _import(api, suite, format="promptfoo", content=content).json()

    assert done["notes"] == ["Left out, as it is no part of a case: providers."]


def test_a_file_with_code_is_refused_naming_the_line(api: Api, suite: TestSuite) -> None:
    content = "prompt,__expected\nSay 1.,equals: 1\nSay 2.,python: True\n"

    answer = _import(api, suite, format="promptfoo", content=content)

    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Line 3, column 8: __expected: python would run")
    assert not TestCase.objects.exists()


def test_a_ragged_table_imports_nothing(api: Api, suite: TestSuite) -> None:
    answer = _import(api, suite, format="csv", content="key,prompt\na,x\nb\n")

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == ["line 3"]
    assert not TestCase.objects.exists()


def _upload(api: Api, suite: TestSuite, name: str, content: bytes, **fields: Any) -> Any:
    file = SimpleUploadedFile(name, content)
    return api.post(f"/api/test-suites/{suite.pk}/import", {"file": file, **fields})


def test_a_form_with_a_file_is_imported(api: Api, suite: TestSuite) -> None:
    dry = _upload(api, suite, "cases.csv", b"key,prompt\none,Say 1.\n", dry_run="true").json()
    done = _upload(api, suite, "cases.csv", b"key,prompt\none,Say 1.\n").json()
    named = _upload(api, suite, "cases", _lines(ONE).encode(), format="jsonl", replace="true")

    assert (dry["added"], done["added"], named.json()["changed"]) == (1, 1, 1)
    assert _shown(api, suite)["version"] == 2


@pytest.mark.parametrize(
    ("content", "fields", "field"),
    [
        (b"prompt\n", {"format": "xlsx"}, "format"),
        (b"prompt\nx\n", {"replace": "perhaps"}, "replace"),
        (b"prompt\nx\n", {"mode": "append"}, "mode"),
        (b"prompt\nx\n", {"replace": ["true", "true"]}, "replace"),
        (b"prompt\nx\n", {"prompt": "a\x00"}, "'prompt'"),
        (b"prompt\n\xff\n", {}, "line 2"),
        (b"", {}, "file"),
    ],
    ids=str,
)
def test_a_form_that_is_no_import_is_400(
    content: bytes, fields: dict[str, Any], field: str, api: Api, suite: TestSuite
) -> None:
    answer = _upload(api, suite, "cases.csv", content, **fields)

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field]
    assert not TestCase.objects.exists()


def test_a_file_whose_name_says_nothing_needs_its_format(api: Api, suite: TestSuite) -> None:
    answer = _upload(api, suite, "cases.txt", b"prompt\nx\n")

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == ["format"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"--x\r\n\r\n--x",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--",
    ],
)
def test_a_form_that_is_none_is_400(body: bytes, api: Api, suite: TestSuite) -> None:
    for content_type in ("multipart/form-data; boundary=x", "multipart/form-data"):
        answer = api.send(
            "POST", f"test-suites/{suite.pk}/import", raw=body, content_type=content_type
        )

        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid"


def test_a_form_may_be_large_and_not_endless(
    api: Api, suite: TestSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImportCases, "max_body_bytes", 10_000)

    assert _upload(api, suite, "a.csv", b"prompt\n" + b"x" * 9_000).status_code == 200
    assert _upload(api, suite, "a.csv", b"prompt\n" + b"x" * 10_000).status_code == 413


def test_somebody_elses_suite_takes_no_file(api: Api) -> None:
    assert _upload(api, make_suite(make_actor()), "a.csv", b"prompt\nx\n").status_code == 404


# --- Exports ---------------------------------------------------------------------------------


def test_what_is_exported_is_what_was_imported(api: Api, suite: TestSuite, actor: Actor) -> None:
    _import(api, suite, ONE, TWO, THREE)
    answer = api.read(f"test-suites/{suite.pk}/export")
    exported = answer.getvalue().decode()

    other = make_suite(actor, cases=0)
    done = _import(api, other, content=exported).json()

    assert answer["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line)["key"] for line in exported.splitlines()] == ["one", "two", "three"]
    assert done["added"] == 3
    assert _shown(api, other)["content_hash"] == _shown(api, suite)["content_hash"]
    assert _import(api, suite, content=exported).json()["unchanged"] == 3


def test_only_the_current_cases_are_exported(api: Api, suite: TestSuite) -> None:
    _import(api, suite, ONE)
    _import(api, suite, TWO, replace=True)

    exported = api.read(f"test-suites/{suite.pk}/export").getvalue().decode()

    assert [json.loads(line)["key"] for line in exported.splitlines()] == ["two"]


@pytest.mark.parametrize("accept", ["application/x-ndjson", "*/*", "application/json"])
def test_an_export_comes_as_lines_whatever_is_accepted(
    accept: str, api: Api, suite: TestSuite
) -> None:
    path = f"test-suites/{suite.pk}/export"

    assert api.read(path, Accept=accept).status_code == 200
    missing = api.read(path.replace(str(suite.pk), str(suite.project_id)), Accept=accept)
    assert (missing.status_code, missing["Content-Type"]) == (404, "application/json")


def test_an_export_comes_in_pages_of_one_version(
    api: Api, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "_CHUNK", 2)
    suite = make_suite(actor, cases=5)
    answer = api.read(f"test-suites/{suite.pk}/export")
    pages = iter(answer.streaming_content)
    exported = [next(pages)]

    _import(api, suite, {"key": "case-4", "prompt": "Changed."}, THREE)
    exported += pages

    keys = [json.loads(line)["key"] for line in b"".join(exported).decode().splitlines()]
    assert keys == [f"case-{number}" for number in range(1, 6)]
    assert b"Changed." not in b"".join(exported)


def test_an_empty_suite_is_an_empty_file(api: Api, suite: TestSuite) -> None:
    assert api.read(f"test-suites/{suite.pk}/export").getvalue() == b""
