"""The API of alert rules and of the alerts they raise."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from access import clock
from access.actors import Actor
from access.models import Membership
from alerts import evaluations, history, partitions, rollups
from alerts.models import Alert, AlertRule, Event, Notification, RuleEvaluation
from tests.clients import Api, with_key
from tests.factories import (
    NOW,
    make_actor,
    make_alert,
    make_member,
    make_preference,
    make_rule,
    make_span,
    store_spans,
)

pytestmark = pytest.mark.django_db
PATH = "analytics/alert-rules"
MINUTE = timedelta(minutes=1)
LEAST = {
    "rule_name": "Slow",
    "metric_type": "latency",
    "threshold_value": 500,
    "comparison_operator": ">",
    "time_window_minutes": 5,
    "aggregation_method": "p95",
}


def test_the_least_makes_a_rule_with_its_defaults(api: Api) -> None:
    answer = api.create(PATH, LEAST)

    assert answer.status_code == 201, answer.content
    shown = answer.json()
    assert {name: shown[name] for name in LEAST} == LEAST
    defaults = {
        "description": "",
        "model_filter": None,
        "operation_filter": None,
        "status_filter": None,
        "source_filter": "ingest",
        "group_by": None,
        "notify_email": True,
        "notify_webhooks": False,
        "notify_integrations": False,
        "cooldown_minutes": 60,
        "renotify": True,
        "for_minutes": 0,
        "keep_firing_minutes": 0,
        "recovery_threshold": None,
        "tolerance": 0,
        "min_samples": 1,
        "suggested_min_samples": 59,
        "no_data_mode": None,
        "severity": "warning",
        "enabled": True,
        "state": "inactive",
        "health": "ok",
        "last_triggered_at": None,
        "trigger_count": 0,
    }
    assert {name: shown[name] for name in defaults} == defaults
    assert "min_samples to 59" in shown["warnings"][0]


@pytest.mark.parametrize(
    ("metric", "aggregation", "warned"),
    [
        ("latency", "max", True),
        ("token_usage", "avg", True),
        ("throughput", "avg", True),
        ("token_usage", "sum", False),
        ("token_usage", "max", False),
        ("throughput", "sum", False),
        ("error_rate", "sum", False),
        ("anomaly_severity", "max", False),
        ("latency", "count", False),
        ("cost", "sum", False),
    ],
)
def test_only_what_is_measured_is_hardly_ever_equal(
    metric: str, aggregation: str, warned: bool, api: Api
) -> None:
    fields = {"metric_type": metric, "aggregation_method": aggregation}

    shown = api.create(PATH, LEAST | fields | {"comparison_operator": "=="}).json()

    assert any("hardly ever equal" in sentence for sentence in shown["warnings"]) == warned


@pytest.mark.parametrize("value", [0.1, "0.1", 0.000000000001, 1_000_000])
def test_thresholds_are_kept_as_they_were_written(value: Any, api: Api, actor: Actor) -> None:
    answer = api.create(PATH, LEAST | {"threshold_value": value})

    assert answer.json()["threshold_value"] == float(value)
    assert AlertRule.objects.get(project=actor.project).threshold_value == Decimal(str(value))


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        *(
            ({"metric_type": metric, "aggregation_method": aggregation}, "aggregation_method")
            for metric in ("error_rate", "throughput")
            for aggregation in ("p50", "p95", "p99", "max", "min")
        ),
        (
            {"metric_type": "error_rate", "aggregation_method": "avg", "status_filter": "error"},
            "status_filter",
        ),
        ({"time_window_minutes": 61}, "time_window_minutes"),
        ({"time_window_minutes": 1441, "aggregation_method": "avg"}, "time_window_minutes"),
        ({"time_window_minutes": 0}, "time_window_minutes"),
        ({"recovery_threshold": 501}, "recovery_threshold"),
        ({"comparison_operator": ">=", "recovery_threshold": 500}, "recovery_threshold"),
        ({"comparison_operator": "<", "recovery_threshold": 499}, "recovery_threshold"),
        ({"comparison_operator": "==", "recovery_threshold": 1}, "recovery_threshold"),
        ({"comparison_operator": "=<"}, "comparison_operator"),
        ({"metric_type": "mood"}, "metric_type"),
        ({"metric_type": "anomaly_severity", "operation_filter": "chat"}, "operation_filter"),
        ({"metric_type": "anomaly_severity", "status_filter": "error"}, "status_filter"),
        ({"metric_type": "anomaly_severity", "group_by": "operation"}, "group_by"),
        ({"threshold_value": None}, "threshold_value"),
        ({"threshold_value": "NaN"}, "threshold_value"),
        ({"threshold_value": 1e300}, "threshold_value"),
        ({"threshold_value": True}, "threshold_value"),
        ({"tolerance": -1}, "tolerance"),
        ({"cooldown_minutes": -1}, "cooldown_minutes"),
        ({"rule_name": ""}, "rule_name"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_field(
    fields: dict[str, Any], blamed: str, api: Api
) -> None:
    answer = api.create(PATH, LEAST | fields)

    assert answer.status_code == 400, answer.content
    assert blamed in answer.json()["details"]


@pytest.mark.parametrize(
    ("metric", "aggregation"),
    [
        *(
            (metric, aggregation)
            for metric in ("latency", "ttft", "token_usage", "cost")
            for aggregation in ("p50", "p95", "p99", "avg", "max", "min", "count", "sum")
        ),
        *((m, a) for m in ("error_rate", "throughput") for a in ("avg", "count", "sum")),
    ],
)
def test_every_sensible_combination_is_taken(metric: str, aggregation: str, api: Api) -> None:
    body = LEAST | {"metric_type": metric, "aggregation_method": aggregation}

    assert api.create(PATH, body).status_code == 201


def test_the_sensible_ones_are_named(api: Api) -> None:
    answer = api.create(PATH, LEAST | {"metric_type": "throughput"})

    assert "avg, count, sum" in answer.json()["message"]


def test_equality_of_floats_warns_and_that_of_costs_does_not(api: Api) -> None:
    equal = LEAST | {"comparison_operator": "==", "aggregation_method": "avg"}

    floats = api.create(PATH, equal).json()["warnings"]
    costs = api.create(PATH, equal | {"rule_name": "b", "metric_type": "cost"}).json()["warnings"]
    near = api.create(PATH, equal | {"rule_name": "c", "tolerance": 1}).json()["warnings"]

    assert "tolerance" in floats[0]
    assert costs == near == []


def test_names_are_unique(api: Api) -> None:
    api.create(PATH, LEAST)

    answer = api.create(PATH, LEAST)

    assert answer.status_code == 400
    assert "rule_name" in answer.json()["details"]


def test_a_change_concerns_what_is_given(api: Api, actor: Actor) -> None:
    rule = make_rule(actor, model_filter="a")

    answer = api.change(f"{PATH}/{rule.pk}", {"threshold_value": 5, "model_filter": None})

    assert answer.status_code == 200, answer.content
    assert (answer.json()["threshold_value"], answer.json()["model_filter"]) == (5, None)
    assert answer.json()["rule_name"] == rule.rule_name


def test_a_change_is_judged_with_what_stays(api: Api, actor: Actor) -> None:
    rule = make_rule(actor, metric_type="error_rate", aggregation_method="avg")

    answer = api.change(f"{PATH}/{rule.pk}", {"aggregation_method": "p95"})

    assert answer.status_code == 400


def test_what_is_shown_can_be_sent_back(api: Api, actor: Actor) -> None:
    shown = api.create(PATH, LEAST).json()

    answer = api.change(f"{PATH}/{shown['id']}", shown)

    assert answer.status_code == 200, answer.content
    assert answer.json() | {"updated_at": ""} == shown | {"updated_at": ""}


def test_a_rule_goes_with_everything_it_found(api: Api, actor: Actor) -> None:
    rule = _fired(actor)

    answer = api.remove(f"{PATH}/{rule.pk}")

    assert answer.status_code == 204
    assert not Alert.objects.filter(project=actor.project).exists()
    assert not RuleEvaluation.objects.filter(rule_id=rule.pk).exists()


def test_the_list_shows_the_worst_of_the_groups(api: Api, actor: Actor) -> None:
    rule = make_rule(actor)
    make_alert(rule)

    (shown,) = api.read(PATH).json()["results"]

    assert (shown["state"], shown["health"]) == ("firing", "ok")


@pytest.mark.parametrize(
    ("query", "found"), [("?enabled=false", 0), ("?enabled=true", 1), ("?metric_type=cost", 0)]
)
def test_the_list_is_narrowed_down(query: str, found: int, api: Api, actor: Actor) -> None:
    make_rule(actor)

    assert api.read(PATH + query).json()["count"] == found


# --- History ---------------------------------------------------------------------------------


def _fired(actor: Actor, **fields: Any) -> AlertRule:
    """Make a rule that has fired in the first of three minutes."""
    rule = make_rule(actor, time_window_minutes=1, **fields)
    store_spans(actor, [make_span(ended_at=NOW + MINUTE / 2, latency_ms=700.0)])
    for minute in (1, 2, 3):
        at = NOW + minute * MINUTE
        evaluations.evaluate_project(actor.project.pk, at=at, now=at + timedelta(seconds=9))
    return rule


def test_the_history_says_what_each_minute_found(api: Api, actor: Actor) -> None:
    rule = _fired(actor)

    body = api.read(f"{PATH}/{rule.pk}/evaluations").json()

    assert body["count"] == 3
    assert [row["time_window_end"] for row in body["results"]] == [
        "2025-01-15T10:03:00Z",
        "2025-01-15T10:02:00Z",
        "2025-01-15T10:01:00Z",
    ]
    assert len({row["id"] for row in body["results"]}) == 3
    assert api.read(f"{PATH}/{rule.pk}/evaluations").json() == body
    assert body["results"][2] == {
        "id": body["results"][2]["id"],
        "created_at": "2025-01-15T10:01:09Z",
        "rule_id": str(rule.pk),
        "project_id": str(actor.project.pk),
        "user_id": str(actor.user.pk),
        "group": None,
        "status": "evaluated",
        "metric_value": 700,
        "threshold_value": 500,
        "triggered": True,
        "state": "firing",
        "health": "ok",
        "time_window_start": "2025-01-15T10:00:00Z",
        "time_window_end": "2025-01-15T10:01:00Z",
        "sample_count": 1,
        "metadata": {"late_samples": 0, "error_message": ""},
        "evaluated_at": "2025-01-15T10:01:09Z",
    }
    assert [row["health"] for row in body["results"]] == ["no_data", "no_data", "ok"]


def test_the_history_leads_on_by_cursor_and_misses_nothing(api: Api, actor: Actor) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    spans = [make_span(n, model=f"m{n}", ended_at=NOW + MINUTE / 2) for n in range(3)]
    store_spans(actor, spans)
    for minute in range(1, 5):
        at = NOW + minute * MINUTE
        evaluations.evaluate_project(actor.project.pk, at=at, now=at)
    seen, path = [], f"{PATH}/{rule.pk}/evaluations?limit=2"

    while path:
        body = api.read(path).json()
        seen += [(row["time_window_end"], row["group"]) for row in body["results"]]
        path = (body["next"] or "").partition("/api/")[2]

    assert body["count"] == len(seen) == len(set(seen)) == 12
    assert [end for end, _ in seen] == sorted((end for end, _ in seen), reverse=True)


@pytest.mark.parametrize("query", ["?cursor=x", "?cursor=1-", "?limit=0"])
def test_a_page_that_cannot_be_is_refused(query: str, api: Api, actor: Actor) -> None:
    rule = make_rule(actor)

    assert api.read(f"{PATH}/{rule.pk}/evaluations{query}").status_code == 400


# --- Preview and test ------------------------------------------------------------------------


def test_a_preview_replays_what_would_have_happened(api: Api, actor: Actor) -> None:
    rule = make_rule(actor, time_window_minutes=1, cooldown_minutes=0)
    latencies = [100, 700, 100, 900]
    spans = [
        make_span(n, ended_at=NOW + n * MINUTE + MINUTE / 2, latency_ms=float(ms))
        for n, ms in enumerate(latencies)
    ]
    store_spans(actor, spans)
    end = NOW + 4 * MINUTE
    rollups.pack(actor.project.pk, before=end, judged=None, now=end)

    body = {"minutes": 4, "end": end.isoformat()}
    answer = api.create(f"{PATH}/{rule.pk}/preview", body)

    assert answer.status_code == 200, answer.content
    shown = answer.json()
    assert shown["notices"] == {"firing": 2, "again": 0, "resolved": 1}
    assert [(row["metric_value"], row["state"], row["notice"]) for row in shown["evaluations"]] == [
        (100, "inactive", None),
        (700, "firing", "firing"),
        (100, "inactive", "resolved"),
        (900, "firing", "firing"),
    ]
    assert not Event.objects.filter(project=actor.project).exists()
    assert not RuleEvaluation.objects.filter(rule_id=rule.pk).exists()


def test_a_preview_finds_what_an_evaluation_found(api: Api, actor: Actor) -> None:
    rule = make_rule(
        actor, aggregation_method="p95", time_window_minutes=3, threshold_value=Decimal(150)
    )
    spans = [
        make_span(n, ended_at=NOW + n * MINUTE / 3, latency_ms=100.0 + 37 * n % 90)
        for n in range(30)
    ]
    store_spans(actor, spans)
    for minute in range(1, 11):
        at = NOW + minute * MINUTE
        evaluations.evaluate_project(actor.project.pk, at=at, now=at)

    body = {"minutes": 10, "end": (NOW + 10 * MINUTE).isoformat()}
    replayed = api.create(f"{PATH}/{rule.pk}/preview", body).json()["evaluations"]

    found = reversed(history.of_rule(rule, before=None, limit=100))
    assert [(row["metric_value"], row["state"]) for row in replayed] == [
        (one.metric_value, one.state) for one in found
    ]


def test_a_preview_has_a_longest_span(api: Api, actor: Actor) -> None:
    rule = make_rule(actor, aggregation_method="p95")

    assert api.create(f"{PATH}/{rule.pk}/preview", {"minutes": 361}).status_code == 400
    assert api.create(f"{PATH}/{rule.pk}/preview", {"minutes": 1441}).status_code == 400


def test_a_test_is_marked_as_one(api: Api, actor: Actor) -> None:
    rule = make_rule(actor)

    answer = api.create(f"{PATH}/{rule.pk}/test")

    assert answer.status_code == 202
    event = Event.objects.get(project=actor.project)
    assert event.subject.startswith("Test: ")
    assert "Nothing is wrong" in event.summary


@pytest.mark.parametrize("end", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_a_preview_ends_where_there_may_be_traces(end: str, api: Api, actor: Actor) -> None:
    rule = make_rule(actor, time_window_minutes=1440)

    answer = api.create(f"{PATH}/{rule.pk}/preview", {"end": end})

    assert answer.status_code == 400
    assert answer.json()["details"] == {"end": ["There are no traces of that time."]}


def test_a_preview_of_many_groups_is_shorter(api: Api, actor: Actor) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    store_spans(actor, [make_span(n, model=f"m{n}", ended_at=NOW) for n in range(90)])
    rollups.pack(actor.project.pk, before=NOW + MINUTE, judged=None, now=NOW + MINUTE)
    end = (NOW + MINUTE).isoformat()

    def preview(minutes: int) -> Any:
        return api.create(f"{PATH}/{rule.pk}/preview", {"minutes": minutes, "end": end})

    assert preview(67).json()["details"] == {
        "minutes": ["With the 90 groups of that time this is at most 66."]
    }
    assert len(preview(66).json()["evaluations"]) == 90


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"notify_email": False, "notify_webhooks": True}, "It takes a webhook channel, enabled"),
        (
            {"notify_email": False, "notify_webhooks": True, "notify_integrations": True},
            "a webhook channel or a chat channel",
        ),
        ({}, "a mail address of its author or a mail channel"),
    ],
)
def test_a_test_that_reaches_nobody_says_what_it_takes(
    fields: dict[str, Any], sentence: str, api: Api, actor: Actor
) -> None:
    rule = make_rule(actor, **fields)
    make_preference(actor, alert_type="trace_latency_high")

    answer = api.create(f"{PATH}/{rule.pk}/test")

    assert answer.status_code == 409
    assert sentence in answer.json()["message"]
    assert not Event.objects.filter(project=actor.project).exists()


def test_a_rule_whose_author_has_left_says_so_and_tells_the_admins(api: Api, actor: Actor) -> None:
    author = make_actor(make_member(actor.project).user, project=actor.project)
    rule = make_rule(author)
    before = api.read(f"{PATH}/{rule.pk}").json()["warnings"]
    Membership.objects.get(project=actor.project, user=author.user).delete()

    test = api.create(f"{PATH}/{rule.pk}/test")

    warning = "Its author is no longer a member of the project: mails go to the project's admins."
    assert warning not in before
    assert test.status_code == 202
    assert Notification.objects.get().address == actor.user.email
    for answer in (api.read(f"{PATH}/{rule.pk}"), api.change(f"{PATH}/{rule.pk}", {})):
        assert warning in answer.json()["warnings"]
    assert warning in api.read(PATH).json()["results"][0]["warnings"]


# --- Alerts ----------------------------------------------------------------------------------


def test_alerts_are_shown_and_narrowed_down(api: Api, actor: Actor) -> None:
    alert = make_alert(make_rule(actor, rule_name="Slow"), peak_value=900)

    shown = api.read("alerts?status=firing&acknowledged=false").json()["results"][0]

    assert (shown["id"], shown["rule_name"]) == (str(alert.pk), "Slow")
    assert (shown["status"], shown["peak_value"]) == ("firing", 900)
    assert api.read("alerts?acknowledged=true").json()["count"] == 0
    assert api.read("alerts?status=resolved").json()["count"] == 0
    assert api.read(f"alerts?rule_id={alert.rule_id}").json()["count"] == 1


def test_an_alert_is_acknowledged_once(api: Api, actor: Actor) -> None:
    alert = make_alert(make_rule(actor))

    first, second = (api.create(f"alerts/{alert.pk}/acknowledge") for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["acknowledged_by"] == str(actor.user.pk)
    assert first.json()["acknowledged_at"] == second.json()["acknowledged_at"] is not None


def test_an_alert_is_resolved_once_and_told_of_where_its_beginning_was(
    api: Api, actor: Actor
) -> None:
    _fired(actor)
    alert = Alert.objects.get(project=actor.project)

    first, second = (api.create(f"alerts/{alert.pk}/resolve") for _ in range(2))
    third = api.create(f"alerts/{alert.pk}/acknowledge")

    assert (first.status_code, second.status_code, third.status_code) == (200, 409, 409)
    assert first.json()["resolution"] == "by_hand"
    assert first.json()["resolved_by"] == str(actor.user.pk)
    subjects = Event.objects.filter(project=actor.project).values_list("subject", flat=True)
    assert sorted(subject.partition(":")[0] for subject in subjects) == ["Firing", "Resolved"]


def test_what_its_author_has_muted_stays_muted_whoever_ends_it(api: Api, actor: Actor) -> None:
    _fired(actor)
    Notification.objects.all().delete()
    for channel in ("email", "webhook"):
        make_preference(actor, alert_type="trace_latency_high", channel=channel)
    alert = Alert.objects.get(project=actor.project)
    colleague = make_actor(make_member(actor.project).user, project=actor.project)

    answer = with_key(colleague).create(f"alerts/{alert.pk}/resolve")

    assert answer.status_code == 200
    assert Event.objects.filter(project=actor.project, notice="resolved").exists()
    assert not Notification.objects.exists()


def test_what_was_sent_just_now_fires_within_its_minute(api: Api, actor: Actor) -> None:
    """From the API in to the API out, at the real time."""
    now = clock.database_now()
    partitions.make(history.TABLE, {now.date(), (now + 3 * MINUTE).date()})
    rule = api.create(PATH, LEAST | {"aggregation_method": "max"}).json()
    api.create("analytics/traces", {"span_name": "x", "latency_ms": 700, "status": "success"})

    evaluations.evaluate(now + MINUTE + timedelta(seconds=9))

    assert api.read(f"{PATH}/{rule['id']}").json()["state"] == "firing"
    assert api.read("alerts").json()["count"] == 1
