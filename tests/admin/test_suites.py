"""Suites in the admin: importing files, and cases that are written by hand."""

import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from access.actors import Actor
from batches import suites
from batches.models import TestCase, TestSuite
from tests.admin.pages import errors, inputs, list_of, send, told, url_of
from tests.factories import (
    make_case_draft,
    make_suite,
)


class TestSuites:
    def post(self, browser: Client, suite: TestSuite, content: str, **more: str) -> str:
        file = SimpleUploadedFile("cases.jsonl", content.encode())
        url = url_of(suite, "import")
        return told(browser.post(url, {"file": file, **more}, follow=True))

    def test_a_file_is_imported_as_one_new_version(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=2)
        line = json.dumps({"key": "case-1", "prompt": "Say hello.", "expected": "hello"})

        sentence = self.post(browser, suite, line)

        assert "version 2: 0 added, 1 changed, 0 removed" in sentence
        assert TestSuite.objects.get().case_count == 2

    def test_looking_at_the_address_of_an_import_leads_to_the_suite(
        self, browser: Client, own: Actor
    ) -> None:
        suite = make_suite(own, cases=2)

        page = browser.get(url_of(suite, "import"), follow=True)

        assert page.redirect_chain == [(url_of(suite), 302)]
        assert "Choose the file again." in told(page)

    def test_replacing_removes_what_is_not_in_the_file(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=2)
        line = json.dumps({"key": "case-1", "prompt": "Say hello."})

        sentence = self.post(browser, suite, line, replace="on")

        assert "1 removed" in sentence

    def test_a_bad_file_is_refused_whole_with_its_line(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=0)

        sentence = self.post(browser, suite, '{"prompt": "a"}\n{"prompt": }\n')

        assert "Nothing was imported." in sentence
        assert "Line 2" in sentence
        assert not TestCase.objects.exists()

    def preview(self, browser: Client, suite: TestSuite, name: str, content: str) -> Any:
        file = SimpleUploadedFile(name, content.encode())
        return browser.post(url_of(suite, "import"), {"file": file, "preview": "1"})

    def test_a_preview_shows_what_would_happen(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=2)
        content = "key,prompt,country\ncase-1,Say <1>.,x\nnew,Hello,y\n"

        page = self.preview(browser, suite, "cases.csv", content)

        text = page.content.decode()
        assert "1 added, 1 changed, 0 removed, 0 unchanged." in text
        assert "It would become version 2." in text
        assert "Columns that became variables: country." in text
        assert "Say &lt;1&gt;." in text
        assert [row["change"] for row in page.context["rows"]] == ["changed", "added"]
        assert TestSuite.objects.get().version == 1
        assert TestCase.objects.count() == 2

    def test_a_preview_names_the_bad_rows(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=0)

        page = self.preview(browser, suite, "cases.csv", "prompt,weight\na,1\nb,0\nc,d\n")

        assert [sentence[:7] for sentence in page.context["refused"]] == ["Line 3:", "Line 4:"]

    def test_a_preview_without_a_file_says_so(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=0)

        page = browser.post(url_of(suite, "import"), {"preview": "1"})

        assert page.context["refused"] == ["Choose a file first."]

    def test_an_export_is_a_file_that_changes_nothing(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=3, name="My suite")

        answer = browser.get(url_of(suite, "export"))
        content = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]

        assert answer["Content-Disposition"] == 'attachment; filename="my-suite-v1.jsonl"'
        assert "0 added, 0 changed, 0 removed, 3 unchanged" in self.post(browser, suite, content)
        assert TestSuite.objects.get().version == 1

    def test_cases_come_in_pages(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=60)

        first = browser.get(url_of(suite)).context["case_rows"]
        second = browser.get(url_of(suite), {"cases": "2"}).context["case_rows"]

        assert (len(first), len(second)) == (50, 10)


class TestCases:
    FORM = "testcase_form"

    def test_a_case_is_added_with_its_assertions(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=0)

        send(
            browser,
            list_of(TestCase, "add") + f"?suite={suite.pk}",
            self.FORM,
            key="capital",
            prompt="Capital of {{ country }}?",
            variables="country: Brazil",
            tags="geo, easy",
            cluster="capitals",
            **{
                "assertions-0-type": "contains-any",
                "assertions-0-value": "Brasilia\r\nBrasília",
                "assertions-1-type": "latency",
                "assertions-1-threshold": "2000",
                "assertions-2-type": "not-equals",
                "assertions-2-value": "Rio",
                "assertions-2-weight": "0.5",
            },
        )

        made = TestCase.objects.get()
        assert (made.key, made.tags, made.metadata) == (
            "capital",
            ["geo", "easy"],
            {"cluster": "capitals"},
        )
        assert made.variables == {"country": "Brazil"}
        assert made.assertions == [
            {"type": "contains-any", "value": ["Brasilia", "Brasília"]},
            {"type": "latency", "threshold": 2000},
            {"type": "not-equals", "value": "Rio", "weight": 0.5},
        ]

    def test_an_edit_makes_a_new_row_and_keeps_the_old(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=1)
        before = TestCase.objects.get()

        send(browser, url_of(before), self.FORM, prompt="Say one.")

        before.refresh_from_db()
        after = TestCase.objects.current().get()
        assert (after.key, after.prompt, before.prompt) == (before.key, "Say one.", "Say 1.")
        assert before.removed_in == TestSuite.objects.get(pk=suite.pk).version == 2

    def test_saving_unchanged_changes_nothing(self, browser: Client, own: Actor) -> None:
        drafts = [
            make_case_draft(
                1,
                messages=[
                    {"role": "system", "content": "Be brief.\nVery."},
                    {"role": "user", "content": "{{ n }}?"},
                ],
                prompt=None,
                variables={"n": 5, "t": "7", "b": True},
                weight=2,
                threshold=0.5,
                assertions=[
                    {"type": "contains-all", "value": ["a", "b, c"]},
                    {"type": "cost", "threshold": "0.0001"},
                    {"type": "equals", "value": {"a": [1, 2]}},
                    {"type": "is-json", "value": {"required": ["a"]}},
                    {"type": "contains-json"},
                    {"type": "rouge-n", "value": ["one\ntwo", "three"], "n": 2},
                    {"type": "bleu", "value": "[sic] one\ntwo"},
                    {"type": "llm-rubric", "value": "Polite?", "provider": "The judge"},
                ],
                metadata={"cluster": "x", "source": {"page": 3}},
            ),
            make_case_draft(2, expected="42\nlines", assertions=None, tags=["a", "b"]),
        ]
        suite = make_suite(own, cases=drafts)

        for case in TestCase.objects.all():
            send(browser, url_of(case), self.FORM)

        assert TestSuite.objects.get(pk=suite.pk).version == 1

    def test_a_bad_assertion_is_named_by_its_row(self, browser: Client, own: Actor) -> None:
        make_suite(own, cases=1)

        response = send(
            browser,
            url_of(TestCase.objects.get()),
            self.FORM,
            **{
                "assertions-1-type": "levenshtein",
                "assertions-1-value": "x",
                "assertions-1-threshold": "far",
            },
        )

        assert errors(response)["assertions"][0].startswith("Row 2, threshold:")

    def test_a_new_case_does_not_take_the_place_of_another(
        self, browser: Client, own: Actor
    ) -> None:
        suite = make_suite(own, cases=1)

        response = send(
            browser,
            list_of(TestCase, "add") + f"?suite={suite.pk}",
            self.FORM,
            key="case-1",
            prompt="Another.",
        )

        assert list(errors(response)) == ["key"]

    def test_deleting_takes_it_out_of_the_next_version(self, browser: Client, own: Actor) -> None:
        suite = make_suite(own, cases=2)

        browser.post(url_of(TestCase.objects.all()[0], "delete"), {"post": "yes"})

        assert [case.key for case in TestCase.objects.filter(suite=suite).current()] == ["case-2"]
        assert TestCase.objects.count() == 2

    def test_a_removed_case_is_shown_and_cannot_be_changed(
        self, browser: Client, own: Actor
    ) -> None:
        suite = make_suite(own, cases=1)
        case = TestCase.objects.get()
        suites.remove(own, suite, case)

        assert browser.get(url_of(case)).status_code == 200
        assert "prompt" not in inputs(browser, url_of(case), self.FORM)
