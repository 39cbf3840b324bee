"""`manage.py import_suite`: reads a file, says how far it is, and what it did."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from access.models import Role
from batches.models import TestCase, TestSuite
from tests.factories import make_actor, make_member, make_project, make_suite, make_user

pytestmark = pytest.mark.django_db

FILES = Path(__file__).parent / "files"


def run(name: str | Path, **options: Any) -> tuple[str, str]:
    """Return the result and the progress."""
    out, progress = io.StringIO(), io.StringIO()
    given = {"suite": "Mine", "user": "ada"} | options
    call_command("import_suite", str(FILES / name), stdout=out, stderr=progress, **given)
    return out.getvalue(), progress.getvalue()


@pytest.fixture(autouse=True)
def _ada() -> None:
    make_user("ada")


def test_a_suite_is_made_and_the_second_time_nothing_changes() -> None:
    first, progress = run("cases.csv")
    again, _ = run("cases.csv")

    assert first == "'Mine' is version 1: 2 added, 0 changed, 0 removed, 0 unchanged.\n"
    assert again == "'Mine' is version 1: 0 added, 0 changed, 0 removed, 2 unchanged.\n"
    assert "Reading 2" in progress
    assert "2 cases." in progress
    assert "Columns that became variables: country." in progress
    suite = TestSuite.objects.get()
    assert (suite.user.username, suite.project.personal_of, suite.case_count) == (
        "ada",
        suite.user,
        2,
    )


def test_a_dry_run_makes_no_suite() -> None:
    said, _ = run("translation.yaml", dry_run=True)

    assert said == "'Mine' would be version 1: 6 added, 0 changed, 0 removed, 0 unchanged.\n"
    assert not TestSuite.objects.exists()


def test_options_reach_the_format_and_the_suite() -> None:
    run("cases.csv")

    said, _ = run("match.jsonl", scorer="includes", replace=True, format="openai-evals")

    assert "3 added, 0 changed, 2 removed" in said
    assert {"contains", "contains-any"} <= {
        item["type"] for case in TestCase.objects.current() for item in case.assertions
    }


def test_it_goes_into_a_shared_project() -> None:
    project = make_project()
    make_member(project, user=make_user("bob"), role=Role.EDITOR)
    make_member(project, user=make_user("eve"), role=Role.VIEWER)

    run("cases.csv", user="bob", project=str(project.pk))

    assert TestSuite.objects.get().project == project
    with pytest.raises(CommandError, match="Your role in this project is 'viewer'"):
        run("cases.csv", user="eve", project=str(project.pk))


def test_a_bad_file_is_refused_with_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("prompt,weight\nx,0\ny,z\n")

    with pytest.raises(CommandError) as caught:
        run(file)

    first, *lines = str(caught.value).splitlines()
    assert first == "Nothing was imported."
    assert [line.partition(":")[0] for line in lines] == ["line 2", "line 3"]
    assert caught.value.returncode == 1
    assert not TestSuite.objects.exists()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("missing.csv", {}, "cannot be read: No such file"),
        ("cases.csv", {"user": "nobody"}, "no active user named 'nobody'"),
    ],
)
def test_what_is_not_there_is_named(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run(name, **options)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.TextIOWrapper(io.BytesIO(b'{"prompt": "x"}'))
    monkeypatch.setattr("sys.stdin", content)
    out = io.StringIO()

    call_command(
        "import_suite", "-", suite="Mine", user="ada", format="jsonl", verbosity=0, stdout=out
    )

    assert "1 added" in out.getvalue()


def test_somebody_elses_suite_of_that_name_is_another() -> None:
    make_suite(make_actor(), name="Mine", cases=3)

    run("cases.csv")

    assert TestSuite.objects.filter(name="Mine").count() == 2
