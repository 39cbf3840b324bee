"""Baselines, verdicts and comparisons over the API."""

from typing import Any

import pytest

from access.actors import Actor
from access.models import AuditEvent
from evalsched.models import Run, RunStatus, Schedule
from evalsched.serializers import ComparisonSerializer
from tests.clients import Api
from tests.evalsched.compared_runs import make_completed
from tests.factories import make_batch, make_run, make_schedule, make_suite


@pytest.fixture
def schedule(actor: Actor) -> Schedule:
    return make_schedule(actor, suite=make_suite(actor, cases=40))


@pytest.fixture
def regressed(schedule: Schedule) -> tuple[Run, Run]:
    """A good run, and one that got worse."""
    good = make_completed(schedule)
    return good, make_completed(schedule, hours=1, wrong=range(1, 16))


def shape_flaws(serializer: Any, shown: Any, where: str = "") -> list[str]:
    """Return where an object differs from what the schema says of it."""
    found = []
    for name in {*serializer.fields, *shown}:
        field, path = serializer.fields.get(name), f"{where}.{name}"
        if field is None:
            found.append(f"{path} is not declared")
        elif name not in shown:
            found += [f"{path} is missing"] if field.required else []
        elif hasattr(field, "fields") and shown[name] is not None:
            found += shape_flaws(field, shown[name], path)
        elif shown[name] is None and not field.allow_null:
            found.append(f"{path} is null")
    return found


def test_a_run_shows_its_verdict(api: Api, schedule: Schedule, regressed: tuple[Run, Run]) -> None:
    good, bad = regressed

    shown = api.read(f"scheduled-evaluations/{schedule.pk}/runs/{bad.pk}").json()

    assert (shown["regression_detected"], shown["baseline_run_id"]) == (True, str(good.pk))
    details = shown["regression_details"]
    assert details["metrics"]["pass_rate"]["verdict"] == "regressed"
    assert shape_flaws(ComparisonSerializer(), details) == []
    first = api.read(f"scheduled-evaluations/{schedule.pk}/runs/{good.pk}").json()
    assert (first["regression_detected"], first["baseline_run_id"]) == (False, None)
    assert shape_flaws(ComparisonSerializer(), first["regression_details"]) == []


def test_two_runs_are_compared(api: Api, regressed: tuple[Run, Run]) -> None:
    good, bad = regressed

    answer = api.create("runs/compare", {"baseline": str(good.pk), "candidate": str(bad.pk)})
    back = api.create("runs/compare", {"baseline": str(bad.pk), "candidate": str(good.pk)})

    assert answer.status_code == 200
    assert answer.json() == bad.regression_details
    assert back.json()["metrics"]["pass_rate"]["verdict"] == "improved"
    assert shape_flaws(ComparisonSerializer(), back.json()) == []


def test_runs_and_batches_mix(api: Api, regressed: tuple[Run, Run]) -> None:
    good, bad = regressed

    shown = api.create(
        "runs/compare", {"baseline": str(good.batch_id), "candidate": str(bad.pk)}
    ).json()

    assert shown["baseline"]["run_id"] == str(good.pk)
    assert shown["regression_detected"]


@pytest.mark.parametrize("side", ["baseline", "candidate"])
def test_what_is_not_there_is_refused_by_its_field(
    side: str, api: Api, regressed: tuple[Run, Run]
) -> None:
    body = {"baseline": str(regressed[0].pk), "candidate": str(regressed[1].pk)}

    answers = [
        api.create("runs/compare", body | {side: "01900000-0000-7000-8000-000000000000"}),
        api.create("runs/compare", body | {side: "nonsense"}),
        api.create("runs/compare", {name: id_ for name, id_ in body.items() if name != side}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert [list(answer.json()["details"]) for answer in answers] == [[side]] * 3


def test_what_is_under_way_is_a_conflict(
    api: Api, actor: Actor, regressed: tuple[Run, Run]
) -> None:
    batch = make_batch(actor)

    answer = api.create(
        "runs/compare", {"baseline": str(regressed[0].pk), "candidate": str(batch.pk)}
    )

    assert answer.status_code == 409


# --- The baseline ----------------------------------------------------------------------------


def test_a_baseline_is_chosen_and_let_go(
    api: Api, schedule: Schedule, regressed: tuple[Run, Run]
) -> None:
    path = f"scheduled-evaluations/{schedule.pk}/baseline"

    chosen = api.create(path, {"run_id": str(regressed[1].pk)})
    read = api.read(f"scheduled-evaluations/{schedule.pk}")
    free = api.create(path, {"run_id": None})

    assert (chosen.status_code, free.status_code) == (200, 200)
    assert chosen.json()["baseline_run_id"] == read.json()["baseline_run_id"]
    assert chosen.json()["baseline_run_id"] == str(regressed[1].pk)
    assert free.json()["baseline_run_id"] is None
    assert AuditEvent.objects.filter(action="schedule.baseline_changed").count() == 2


@pytest.mark.parametrize("body", [{}, {"run_id": "last"}, {"run_id": 7}, {"run": None}])
def test_a_baseline_that_is_none_is_refused(
    body: dict[str, Any], api: Api, schedule: Schedule
) -> None:
    answer = api.create(f"scheduled-evaluations/{schedule.pk}/baseline", body)

    assert answer.status_code == 400
    assert "run_id" in answer.json()["details"]


@pytest.mark.parametrize("body", [[], None, "null", 7])
def test_a_baseline_is_chosen_by_an_object(body: Any, api: Api, schedule: Schedule) -> None:
    answer = api.create(f"scheduled-evaluations/{schedule.pk}/baseline", body)

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid"


def test_a_run_that_cannot_be_the_baseline_is_refused(
    api: Api, actor: Actor, schedule: Schedule
) -> None:
    other = make_run(make_schedule(actor), status=RunStatus.COMPLETED)
    failed = make_run(schedule, status=RunStatus.FAILED)
    path = f"scheduled-evaluations/{schedule.pk}/baseline"

    answers = [api.create(path, {"run_id": str(run.pk)}) for run in (other, failed)]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert [list(answer.json()["details"]) for answer in answers] == [["run_id"]] * 2


# --- The rules -------------------------------------------------------------------------------


def test_a_schedule_has_rules_and_says_what_it_detects(api: Api, schedule: Schedule) -> None:
    shown = api.read(f"scheduled-evaluations/{schedule.pk}").json()

    assert shown["regression_method"] == "auto"
    assert shown["gated_metrics"] == ["quality", "pass_rate"]
    assert shown["baseline_run_id"] is None
    detects = shown["detects"]
    assert (detects["cases"], detects["assumed"]) == (40, True)
    assert 0.24 < detects["drop"] < 0.26
    assert "This suite of 40 cases detects a drop of 25 points or more" in detects["sentence"]


def test_the_rules_are_changed(api: Api, schedule: Schedule) -> None:
    rules = {"regression_method": "threshold", "gated_metrics": ["cost", "quality", "cost"]}

    shown = api.change(f"scheduled-evaluations/{schedule.pk}", rules).json()

    assert shown["regression_method"] == "threshold"
    assert shown["gated_metrics"] == ["quality", "cost"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"regression_method": "dice"}, "regression_method"),
        ({"gated_metrics": []}, "gated_metrics"),
        ({"gated_metrics": "quality"}, "gated_metrics"),
        ({"gated_metrics": ["beauty"]}, "gated_metrics.0"),
        ({"gated_metrics": None}, "gated_metrics"),
    ],
)
def test_rules_that_are_none_are_refused_by_their_field(
    change: dict[str, Any], field: str, api: Api, schedule: Schedule
) -> None:
    answer = api.change(f"scheduled-evaluations/{schedule.pk}", change)

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field]
