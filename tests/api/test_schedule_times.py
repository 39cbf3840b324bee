"""When schedules fire, over the API: limits, previews, backfills, and runs as CSV."""

import csv
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.utils import timezone

from access.actors import Actor
from access.models import AuditEvent
from evalsched.models import Run, RunStatus, RunTrigger, Schedule
from tests.clients import Api
from tests.factories import NOW, make_actor, make_endpoint, make_run, make_schedule, make_suite

DAY = timedelta(days=1)


@pytest.fixture
def body(actor: Actor) -> dict[str, Any]:
    return {
        "name": "Nightly",
        "schedule_type": "hourly",
        "test_suite_id": str(make_suite(actor).pk),
        "model_id": str(make_endpoint(actor).pk),
    }


def _path(schedule: Schedule, below: str = "") -> str:
    return f"scheduled-evaluations/{schedule.pk}{below}"


def _soon(**ahead: float) -> str:
    return (timezone.now() + timedelta(**ahead)).isoformat()


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- Limits ----------------------------------------------------------------------------------


def test_the_limits_are_kept_and_shown(api: Api, body: dict[str, Any]) -> None:
    limits = {
        "jitter_seconds": 90,
        "starts_at": "2040-01-01T00:00:00Z",
        "ends_at": "2041-01-01T00:00:00Z",
        "max_runs": 5,
        "paused_until": "2040-06-01T00:30:00Z",
        "pause_reason": "Moving the servers.",
    }

    made = api.create("scheduled-evaluations", body | limits).json()

    assert {name: made[name] for name in limits} == limits
    assert made["runs_made"] == 0
    late = _at(made["next_run_at"]) - datetime(2040, 6, 1, 1, tzinfo=UTC)
    assert timedelta(0) <= late <= timedelta(seconds=90)


def test_without_limits_they_are_null(api: Api, body: dict[str, Any]) -> None:
    made = api.create("scheduled-evaluations", body).json()

    names = ("starts_at", "ends_at", "max_runs", "paused_until")
    assert {name: made[name] for name in names} == dict.fromkeys(names)
    assert (made["jitter_seconds"], made["pause_reason"]) == (0, "")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"jitter_seconds": -1}, "jitter_seconds"),
        ({"jitter_seconds": 86_401}, "jitter_seconds"),
        ({"jitter_seconds": "long"}, "jitter_seconds"),
        ({"jitter_seconds": None}, "jitter_seconds"),
        ({"max_runs": 0}, "max_runs"),
        ({"max_runs": 10**12}, "max_runs"),
        ({"starts_at": "tomorrow"}, "starts_at"),
        ({"starts_at": "0001-01-01T00:00:00Z"}, "starts_at"),
        ({"ends_at": "9999-12-31T23:59:59Z"}, "ends_at"),
        ({"starts_at": "2040-01-02T00:00Z", "ends_at": "2040-01-01T00:00Z"}, "ends_at"),
        ({"starts_at": "2040-01-01T00:00Z", "ends_at": "2040-01-01T00:00Z"}, "ends_at"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"starts_at": "2040-01-01T00:05Z", "ends_at": "2040-01-01T00:55Z"}, "ends_at"),
        ({"paused_until": "2020-01-01T00:00:00Z"}, "paused_until"),
    ],
    ids=str,
)
def test_a_bad_limit_is_refused_by_its_field(
    change: dict[str, Any], field: str, api: Api, actor: Actor, body: dict[str, Any]
) -> None:
    schedule = make_schedule(actor)

    answers = [
        api.create("scheduled-evaluations", body | change),
        api.change(_path(schedule), change),
    ]

    for answer in answers:
        assert answer.status_code == 400, answer.content
        assert list(answer.json()["details"]) == [field]
    assert list(Schedule.objects.all()) == [schedule]


def test_a_schedule_that_has_ended_is_not_switched_on(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, is_active=False, max_runs=2)
    Schedule.objects.update(runs_made=2)

    refused = api.create(_path(schedule, "/toggle"))
    raised = api.change(_path(schedule), {"max_runs": 3, "is_active": True})

    assert refused.status_code == 400
    assert list(refused.json()["details"]) == ["max_runs"]
    assert raised.json()["is_active"] is True


def test_a_pause_and_its_end_by_hand(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)

    paused = api.change(_path(schedule), {"paused_until": _soon(days=2), "pause_reason": "Moving."})
    resumed = api.change(_path(schedule), {"paused_until": None})

    assert paused.json()["is_active"] is True
    assert _at(paused.json()["next_run_at"]) >= timezone.now() + 1.9 * DAY
    assert timezone.now() < _at(resumed.json()["next_run_at"]) < timezone.now() + DAY
    assert resumed.json()["pause_reason"] == ""


def test_switching_on_ends_a_pause(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)
    api.change(_path(schedule), {"paused_until": _soon(days=2)})

    api.create(_path(schedule, "/toggle"))
    on = api.create(_path(schedule, "/toggle")).json()

    assert on["paused_until"] is None
    assert _at(on["next_run_at"]) < timezone.now() + DAY


# --- What is to come -------------------------------------------------------------------------


def test_what_is_to_come_begins_with_the_next_run(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, now=timezone.now())

    shown = api.read(_path(schedule, "/upcoming?count=3")).json()

    times = [_at(found["scheduled_for"]) for found in shown["occurrences"]]
    assert times[0] == schedule.next_run_at
    assert [later - times[0] for later in times] == [timedelta(hours=n) for n in range(3)]
    assert shown["description"].endswith("(UTC)")
    assert len(api.read(_path(schedule, "/upcoming")).json()["occurrences"]) == 10


def test_what_is_to_come_keeps_to_the_limits(api: Api, actor: Actor) -> None:
    start = datetime(2040, 1, 1, tzinfo=UTC)
    ends = make_schedule(actor, starts_at=start, ends_at=start + timedelta(hours=2))
    few = make_schedule(actor, max_runs=2)
    off = make_schedule(actor, is_active=False)

    shown = {
        one.name: [
            found["scheduled_for"]
            for found in api.read(_path(one, "/upcoming")).json()["occurrences"]
        ]
        for one in (ends, few, off)
    }

    assert shown[ends.name] == [f"2040-01-01T0{hour}:00:00Z" for hour in range(3)]
    assert len(shown[few.name]) == 2
    assert shown[off.name] == []


@pytest.mark.parametrize("count", ["0", "1001", "many", "-1"])
def test_a_count_out_of_range_is_refused(count: str, api: Api, actor: Actor) -> None:
    answer = api.read(_path(make_schedule(actor), f"/upcoming?count={count}"))

    assert (answer.status_code, list(answer.json()["details"])) == (400, ["count"])


def _preview(api: Api, **sent: Any) -> list[str]:
    answer = api.create("scheduled-evaluations/preview", {"schedule_type": "custom"} | sent)
    assert answer.status_code == 200, answer.content
    return [found["scheduled_for"] for found in answer.json()["occurrences"]]


@pytest.mark.parametrize(
    ("timing", "within", "expected"),
    [
        (
            ("30 2 * * *", "America/New_York"),
            ("2026-03-08T00:00Z", "2026-03-09T00:00Z"),
            ["2026-03-08T07:00:00Z"],
        ),
        (
            ("30 1 * * *", "America/New_York"),
            ("2026-11-01T00:00Z", "2026-11-02T00:00Z"),
            ["2026-11-01T05:30:00Z"],
        ),
        (
            ("0 * * * *", "America/New_York"),
            ("2026-11-01T03:30Z", "2026-11-01T08:00Z"),
            [f"2026-11-01T0{hour}:00:00Z" for hour in range(4, 9)],
        ),
        (
            ("15 2 * * *", "Australia/Lord_Howe"),
            ("2026-10-03T00:00Z", "2026-10-04T00:00Z"),
            ["2026-10-03T15:30:00Z"],
        ),
        (
            ("0 12 13 * 5", "UTC"),
            ("2026-02-01T00:00Z", "2026-02-21T00:00Z"),
            [f"2026-02-{day:02}T12:00:00Z" for day in (6, 13, 20)],
        ),
        (
            ("0 12 13 * 5", "UTC"),
            ("2026-01-10T00:00Z", "2026-01-17T00:00Z"),
            ["2026-01-13T12:00:00Z", "2026-01-16T12:00:00Z"],
        ),
        (
            ("0 0 */2 * MON", "UTC"),
            ("2026-01-31T00:00Z", "2026-02-28T12:00Z"),
            ["2026-02-09T00:00:00Z", "2026-02-23T00:00:00Z"],
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_wall_clock(
    timing: tuple[str, str], within: tuple[str, str], expected: list[str], api: Api
) -> None:
    (expression, zone), (after, until) = timing, within

    found = _preview(
        api, cron_expression=expression, timezone=zone, after=after, until=until, count=1000
    )

    assert found == expected


def test_a_leap_day_warns_that_it_is_far_away(api: Api) -> None:
    sent = {"schedule_type": "custom", "cron_expression": "0 0 29 2 *", "count": 1}

    answer = api.create("scheduled-evaluations/preview", sent | {"after": "2026-11-22T00:00Z"})

    shown = answer.json()
    assert [found["scheduled_for"] for found in shown["occurrences"]] == ["2028-02-29T00:00:00Z"]
    # Whether it is far away depends on today.
    far = datetime(2028, 2, 29, tzinfo=UTC) - timezone.now() > timedelta(days=366)
    assert any("over a year away" in warning for warning in shown["warnings"]) == far


def test_the_ends_of_a_preview_are_open_and_closed(api: Api) -> None:
    asked = {"schedule_type": "hourly", "after": "2026-01-01T00:00Z", "until": "2026-01-01T02:00Z"}

    assert _preview(api, **asked) == ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]
    assert len(_preview(api, schedule_type="hourly", count=1000)) == 1000
    assert _preview(api, **asked | {"until": asked["after"]}) == []


def test_a_preview_says_what_a_clock_change_did(api: Api) -> None:
    sent = {
        "schedule_type": "custom",
        "cron_expression": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "after": "2026-03-28T12:00Z",
        "count": 1,
    }

    shown = api.create("scheduled-evaluations/preview", sent).json()

    (found,) = shown["occurrences"]
    assert found["local"] == "2026-03-29T03:00:00+02:00"
    assert "02:30 does not exist" in found["note"]
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("sent", "field", "word"),
    [
        ({"cron_expression": "@reboot"}, "cron_expression", "@reboot"),
        ({"cron_expression": "@every 5m"}, "cron_expression", "@every"),
        ({"cron_expression": "0 0 * * * *"}, "cron_expression", "five fields"),
        ({"cron_expression": "0 0 0 * * * 2026"}, "cron_expression", "five fields"),
        ({"cron_expression": "R * * * *"}, "cron_expression", "random"),
        ({"cron_expression": "H * * * *"}, "cron_expression", "Jenkins"),
        ({"cron_expression": "0 0 ? * *"}, "cron_expression", "another dialect"),
        ({"cron_expression": "0 22-2 * * *"}, "cron_expression", "backwards"),
        ({"cron_expression": "0 0 31 2 *"}, "cron_expression", "never comes"),
        ({"cron_expression": "0 0 30 2 *"}, "cron_expression", "never comes"),
        ({"cron_expression": "*/70 * * * *"}, "cron_expression", "step"),
        ({"cron_expression": "0 0 1-31/100 * *"}, "cron_expression", "step"),
        ({"cron_expression": ""}, "cron_expression", "needs"),
        ({"schedule_type": "daily"}, "cron_expression", "set schedule_type to custom"),
        ({"schedule_type": "monthly"}, "schedule_type", "not a valid choice"),
        ({"timezone": "Mars/Olympus"}, "timezone", "Mars/Olympus"),
        ({"dst_gap": "jump"}, "dst_gap", "not a valid choice"),
        ({"dst_overlap": "jump"}, "dst_overlap", "not a valid choice"),
        ({"count": 1001}, "count", "1000"),
        ({"count": 0}, "count", "1"),
        ({"after": "yesterday"}, "after", "format"),
        ({"colour": "red"}, "colour", "no such field"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    sent: dict[str, Any], field: str, word: str, api: Api
) -> None:
    timing = {"schedule_type": "custom", "cron_expression": "0 2 * * *"}

    answer = api.create("scheduled-evaluations/preview", timing | sent)

    assert answer.status_code == 400, answer.content
    assert list(answer.json()["details"]) == [field]
    assert word in answer.json()["details"][field][0]


# --- The past made up for --------------------------------------------------------------------

RANGE = {"start": "2025-01-01T00:00:00Z", "end": "2025-01-01T05:00:00Z"}


def test_a_dry_run_says_what_would_be_made(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, is_active=False)

    answer = api.create(_path(schedule, "/backfill"), RANGE | {"dry_run": True})

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["id"], shown["dry_run"], shown["count"]) == (None, True, 6)
    assert shown["occurrences"][-1]["scheduled_for"] == RANGE["end"]
    assert not Run.objects.exists()
    assert not AuditEvent.objects.filter(action="schedule.backfilled").exists()


def test_a_backfill_makes_a_run_of_each_occurrence(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, is_active=False)

    answer = api.create(_path(schedule, "/backfill"), RANGE)

    assert answer.status_code == 202
    made = schedule.runs.order_by("scheduled_for")
    assert [run.scheduled_for.hour for run in made] == [0, 1, 2, 3, 4, 5]
    assert {(run.trigger, run.status) for run in made} == {("backfill", "triggered")}
    assert {str(run.backfill_id) for run in made} == {answer.json()["id"]}
    assert {run.user_id for run in made} == {actor.user.pk}
    trail = AuditEvent.objects.get(action="schedule.backfilled")
    assert trail.details["runs"] == 6
    listed = api.read(_path(schedule, "/runs?trigger=backfill")).json()
    assert listed["count"] == 6
    assert listed["results"][0]["backfill_id"] == answer.json()["id"]


def test_a_backfill_runs_again_what_has_run(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    make_run(schedule, scheduled_for=start, trigger=RunTrigger.SCHEDULE, status=RunStatus.COMPLETED)

    for _ in range(2):
        assert api.create(_path(schedule, "/backfill"), RANGE).status_code == 202

    assert schedule.runs.filter(scheduled_for=start).count() == 3


def test_the_same_idempotency_key_backfills_once(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)
    key = {"Idempotency-Key": "once"}

    answers = [api.create(_path(schedule, "/backfill"), RANGE, **key) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert schedule.runs.count() == 6


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_million_occurrences_are_refused_with_their_number(
    dry_run: bool, api: Api, actor: Actor
) -> None:
    schedule = make_schedule(actor, schedule_type="custom", cron_expression="* * * * *")
    wide = {"start": "2023-01-01T00:00:00Z", "end": "2024-12-31T23:59:00Z", "dry_run": dry_run}

    answer = api.create(_path(schedule, "/backfill"), wide)

    assert answer.status_code == 400
    (sentence,) = answer.json()["details"]["end"]
    assert "1,052,640 occurrences" in sentence
    assert "at most 1,000 runs" in sentence
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"end": "2024-12-31T00:00:00Z"}, "end"),
        ({"end": "2090-01-01T00:00:00Z"}, "end"),
        ({"start": "2025-01-01T00:10:00Z", "end": "2025-01-01T00:50:00Z"}, "end"),
        ({"start": "0001-01-01T00:00:00Z"}, "start"),
        ({"start": "then"}, "start"),
        ({"dry_run": "perhaps"}, "dry_run"),
        ({"speed": 3}, "speed"),
    ],
    ids=str,
)
def test_a_bad_range_is_refused(change: dict[str, Any], field: str, api: Api, actor: Actor) -> None:
    answer = api.create(_path(make_schedule(actor), "/backfill"), RANGE | change)

    assert (answer.status_code, list(answer.json()["details"])) == (400, [field])
    assert not Run.objects.exists()


# --- Runs as CSV -----------------------------------------------------------------------------


def _rows(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(b"".join(answer.streaming_content).decode())))


def test_runs_are_read_as_csv_newest_first(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)
    for hours in range(3):
        make_run(schedule, scheduled_for=NOW + timedelta(hours=hours), status=RunStatus.COMPLETED)
    make_run(make_schedule(actor))

    answer = api.read(_path(schedule, "/runs.csv"))

    assert answer["Content-Type"].startswith("text/csv")
    assert "runs.csv" in answer["Content-Disposition"]
    rows = _rows(answer)
    assert [_at(row["scheduled_for"]) for row in rows] == [
        NOW + timedelta(hours=hours) for hours in (2, 1, 0)
    ]
    assert rows[0]["schedule_name"] == schedule.name
    assert _rows(api.read(_path(schedule, "/runs.csv?status=failed"))) == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_looks_like_a_formula_stays_text(start: str, api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, name=f"x{start}1")
    make_run(schedule, status=RunStatus.FAILED, error_message=f'{start}HYPERLINK("x","y"),\n"z"')

    (row,) = _rows(api.read(_path(schedule, "/runs.csv")))

    assert row["error_message"] == f'\'{start}HYPERLINK("x","y"),\n"z"'
    assert row["schedule_name"] == f"x{start}1"


# --- A batch that is a run of a schedule -----------------------------------------------------


@pytest.fixture
def batch(actor: Actor) -> dict[str, Any]:
    suite, endpoint = make_suite(actor), make_endpoint(actor)
    return {"config": {"test_suite_id": str(suite.pk), "model_id": str(endpoint.pk)}}


def _headers(schedule_id: object, flag: str = "true") -> dict[str, str]:
    return {"X-Scheduled-Evaluation": flag, "X-Scheduled-Evaluation-Id": str(schedule_id)}


def test_a_batch_is_recorded_as_a_run_of_its_schedule(
    api: Api, actor: Actor, batch: dict[str, Any]
) -> None:
    schedule = make_schedule(actor)

    answer = api.create("batch-testing/run", batch, **_headers(schedule.pk))

    assert answer.status_code == 202, answer.content
    run = schedule.runs.get()
    assert answer.json()["scheduled_evaluation_run_id"] == str(run.pk)
    assert (run.status, run.trigger) == (RunStatus.RUNNING, RunTrigger.API)
    assert str(run.batch_id) == answer.json()["id"] == answer.json()["test_run_id"]
    assert run.batch is not None
    assert run.deadline_at == run.batch.deadline_at
    assert run.snapshot["test_suite_id"] == batch["config"]["test_suite_id"]


def test_without_the_headers_it_is_a_batch_and_no_more(
    api: Api, actor: Actor, batch: dict[str, Any]
) -> None:
    schedule = make_schedule(actor)

    plain = api.create("batch-testing/run", batch)
    unflagged = api.create("batch-testing/run", batch, **_headers(schedule.pk, "false"))

    assert plain.json()["scheduled_evaluation_run_id"] is None
    assert unflagged.json()["scheduled_evaluation_run_id"] is None
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"X-Scheduled-Evaluation": "yes"}, "X-Scheduled-Evaluation is 'true' or 'false'"),
        ({}, "X-Scheduled-Evaluation-Id needs X-Scheduled-Evaluation: true"),
    ],
)
def test_headers_that_are_half_meant_start_nothing(
    api: Api, actor: Actor, batch: dict[str, Any], headers: dict[str, str], named: str
) -> None:
    key = {"X-Scheduled-Evaluation-Id": str(make_schedule(actor).pk)}

    answer = api.create("batch-testing/run", batch, **key, **headers)

    assert answer.status_code == 400
    assert named in answer.json()["message"]
    assert api.read("batches").json()["count"] == 0


def test_a_batch_of_an_unknown_schedule_is_not_started(
    api: Api, actor: Actor, batch: dict[str, Any]
) -> None:
    foreign = make_schedule(make_actor())

    unknown = [
        api.create("batch-testing/run", batch, **_headers(key)).status_code
        for key in (foreign.pk, "nonsense", "01900000-0000-7000-8000-000000000000")
    ]
    nameless = api.create("batch-testing/run", batch, **{"X-Scheduled-Evaluation": "true"})

    assert unknown == [404, 404, 404]
    assert nameless.status_code == 400
    assert api.read("batches").json()["count"] == 0
