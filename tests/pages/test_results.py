"""An experiment's page: verdicts, the cases side by side, one case in full, and the download."""

import csv
from io import StringIO

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from batches import case_comparisons, documents, experiments
from batches.batches import Config
from batches.case_comparisons import Order, Show
from batches.experiments import Plan
from batches.exports import formats
from batches.models import Batch, BatchStatus, Job
from tests.evalsched.compared_runs import bring_results
from tests.factories import NOW, make_document, make_endpoint, make_experiment
from tests.pages.conftest import TRIAL, Trial, make_trial


def test_the_page_says_what_the_second_batch_did_to_the_first(member: Client, trial: Trial) -> None:
    page = trial.page(member)

    assert "Pass rate may have changed: 100.0 % to 83.3 % over 12 cases" in page
    assert "Long prompt" in page
    assert "Does a shorter prompt do?" in page
    assert page.count('class="differs"') == 2


def test_only_different_results_are_shown_where_asked_for(member: Client, trial: Trial) -> None:
    page = trial.page(member, "show=results")

    assert ">case-3<" in page
    assert ">case-7<" in page
    assert ">case-1<" not in page


def test_the_worst_regression_comes_first(trial: Trial) -> None:
    batches = [trial.before, trial.after]

    found = case_comparisons.compare(batches, Show.ALL, Order.WORST)

    assert [row.key for row in found[:3]] == ["case-3", "case-7", "case-1"]
    assert [row.loss for row in found[:3]] == [1.0, 1.0, 0.0]


def test_in_its_own_order_is_as_the_suite_has_it(trial: Trial) -> None:
    found = case_comparisons.compare([trial.before, trial.after], Show.ALL, Order.SUITE)

    assert [row.key for row in found] == [f"case-{number}" for number in range(1, 13)]


def test_a_case_that_one_batch_does_not_have_differs(trial: Trial) -> None:
    Job.objects.filter(batch=trial.after, case_key="case-5").delete()

    found = case_comparisons.compare([trial.before, trial.after], Show.RESULTS, Order.SUITE)

    assert [row.key for row in found] == ["case-3", "case-5", "case-7"]
    assert found[1].sides[1] is None


def test_cases_are_set_beside_each_other_with_one_query(trial: Trial) -> None:
    with CaptureQueriesContext(connection) as seen:
        case_comparisons.compare([trial.before, trial.after], Show.ALL, Order.WORST)

    assert len(seen) == 1


def test_another_prompt_and_parameters_are_what_an_experiment_tries_out(
    member: Client, trial: Trial
) -> None:
    tried = {"parameters": {"temperature": 1}, "instructions": "Answer in verse."}
    Batch.objects.filter(pk=trial.after.pk).update(**tried)

    assert "Pass rate may have changed: 100.0 % to 83.3 % over 12 cases" in trial.page(member)


def test_what_is_not_comparable_is_not_painted_as_good(member: Client, trial: Trial) -> None:
    assertions = [{"type": "contains", "value": "yes"}]
    Batch.objects.filter(pk=trial.after.pk).update(assertions=assertions)

    page = trial.page(member)

    assert "Not comparable with the baseline." in page
    assert '<div class="card verdict ">' in page


def test_another_baseline_turns_the_comparison_round(member: Client, trial: Trial) -> None:
    page = trial.page(member, f"baseline={trial.after.pk}&order=worst")

    assert "83.3 % to 100.0 %" in page
    assert "lost" not in page


def test_a_choice_of_batches_leaves_the_others_out(member: Client, trial: Trial) -> None:
    page = trial.page(member, f"batch={trial.after.pk}")

    assert "Compared with the baseline" not in page
    assert page.count("Short prompt") > page.count("Long prompt")


def test_nonsense_in_the_address_is_left_out_of_account(member: Client, trial: Trial) -> None:
    page = trial.page(member, "baseline=x&batch=y&show=z&order=&page=-3")

    assert page.count('data-label="Case"') == 12


def test_where_nothing_differs_the_page_says_so(member: Client, trial: Trial) -> None:
    make_trial(trial.actor, trial.before.suite, tracking_id="same")
    make_trial(trial.actor, trial.before.suite, tracking_id="same")

    page = member.get("/experiments/same?show=answers").content.decode()

    assert "No case differs" in page


def test_a_case_shows_what_was_taken_out_and_put_in(member: Client, trial: Trial) -> None:
    job = Job.objects.get(batch=trial.after, case_key="case-3")

    page = member.get(reverse("experiment_case", args=[TRIAL, job.pk])).content.decode()

    assert "Say 3." in page
    assert "The answer is 3<ins>, or not</ins>." in page


def test_a_document_that_was_changed_since_is_not_shown_as_what_was_asked(
    member: Client, trial: Trial
) -> None:
    document = make_document(trial.actor, content="Old text.")
    batch = experiments.create(
        trial.actor,
        Plan(tracking_id=TRIAL),
        endpoint=make_endpoint(trial.actor),
        config=Config(),
        asked=[document],
        now=NOW,
    )
    bring_results(batch.pk, NOW)
    url = reverse("experiment_case", args=[TRIAL, Job.objects.get(batch=batch).pk])
    before = member.get(url).content.decode()
    documents.change(trial.actor, document, content="New text.")

    after = member.get(url).content.decode()

    assert "Old text." in before
    assert "The document was changed since." in after
    assert "New text." not in after


def test_a_models_answer_is_shown_as_text(member: Client, trial: Trial) -> None:
    Job.objects.filter(batch=trial.after).update(output="<script>alert(1)</script>")
    job = Job.objects.filter(batch=trial.after)[0]

    pages = [trial.page(member)]
    pages += [member.get(reverse("experiment_case", args=[TRIAL, job.pk])).content.decode()]

    assert "<script" not in "".join(pages)
    assert "&lt;script&gt;" in pages[0]


def test_a_case_of_another_experiment_is_not_there(member: Client, trial: Trial) -> None:
    other = make_trial(trial.actor, trial.before.suite, tracking_id="other")
    job = Job.objects.filter(batch=other)[0]

    assert member.get(reverse("experiment_case", args=[TRIAL, job.pk])).status_code == 404


def test_every_call_is_a_line_of_the_download(member: Client, trial: Trial) -> None:
    Job.objects.filter(batch=trial.after, case_key="case-1").update(output="=1+1")

    answer = downloaded(member, "csv")

    lines = list(csv.DictReader(StringIO(answer)))
    assert len(lines) == 24
    assert [line["case_key"] for line in lines if line["outcome"] == "failed"] == [
        "case-3",
        "case-7",
    ]
    assert "'=1+1" in [line["output"] for line in lines]


@pytest.mark.parametrize("format_", list(formats.MEDIA_TYPES))
def test_the_page_offers_every_format_and_each_has_all_calls(
    format_: str, member: Client, trial: Trial
) -> None:
    assert f"/experiments/{TRIAL}/export?format={format_}&amp;" in trial.page(member)

    text = downloaded(member, format_, f"&batch={trial.after.pk}")

    assert all(f"case-{number}" in text for number in range(1, 13))
    assert (str(trial.before.pk) in text) is False


def test_an_unknown_format_is_refused_in_words(member: Client, trial: Trial) -> None:
    answer = member.get(reverse("experiment_export", args=[TRIAL]), {"format": "exe"})

    assert answer.status_code == 400
    assert "Choose one of: csv" in answer.content.decode()


def downloaded(member: Client, format_: str, more: str = "") -> str:
    answer = member.get(f"{reverse('experiment_export', args=[TRIAL])}?format={format_}{more}")
    assert answer.status_code == 200
    ending = "xml" if format_ == "junit" else format_
    named = f'attachment; filename="experiment-{TRIAL}.{ending}"'
    assert answer["Content-Disposition"] == named
    return b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]


def test_what_is_under_way_has_a_page_too(member: Client, trial: Trial) -> None:
    batch = make_experiment(trial.actor, tracking_id="fresh")

    page = member.get("/experiments/fresh").content.decode()

    assert ">Reload<" in page
    assert "no result" in page
    assert Batch.objects.get(pk=batch.pk).status == BatchStatus.PENDING


def test_a_comparison_with_what_is_under_way_waits(member: Client, trial: Trial) -> None:
    make_experiment(trial.actor, tracking_id=TRIAL)

    assert "They are compared when both have ended." in trial.page(member)


def test_too_many_calls_are_not_set_beside_each_other(member: Client, trial: Trial) -> None:
    Batch.objects.filter(pk=trial.after.pk).update(
        total=200_000, done=12, status=BatchStatus.CANCELLED
    )

    page = trial.page(member)

    assert "These batches have more than 100,000 calls" in page
    assert "Not compared here: the batches have more than 100,000 calls" in page
