"""Traces, alert rules and alerts in the admin."""

from datetime import timedelta
from decimal import Decimal

from django.test import Client
from django.utils import timezone

from access.actors import Actor
from alerts import evaluations, history, partitions, rollups, traces
from alerts.models import Alert, AlertRule, Event, Trace
from tests.admin.pages import errors, list_of, press, send, told, url_of
from tests.factories import make_alert, make_rule, make_span, make_trace, store_spans

MINUTE = timedelta(minutes=1)
RULE = {
    "rule_name": "Slow",
    "metric_type": "latency",
    "aggregation_method": "p95",
    "comparison_operator": ">",
    "threshold_value": "500",
    "time_window_minutes": "5",
}


def test_a_rule_is_made_and_changed_in_its_form(browser: Client, own: Actor) -> None:
    send(browser, list_of(AlertRule, "add"), "alertrule_form", **RULE)
    rule = AlertRule.objects.get()
    send(browser, url_of(rule), "alertrule_form", threshold_value="600")

    rule.refresh_from_db()
    assert (rule.project, rule.user) == (own.project, own.user)
    assert (rule.rule_name, rule.aggregation_method) == ("Slow", "p95")
    assert rule.threshold_value == 600


def test_what_makes_no_sense_is_said_at_its_input(browser: Client, own: Actor) -> None:
    response = send(
        browser, list_of(AlertRule, "add"), "alertrule_form", **RULE | {"metric_type": "throughput"}
    )

    assert list(errors(response)) == ["aggregation_method"]
    assert not AlertRule.objects.exists()


def test_a_rules_page_draws_its_history_with_the_threshold(browser: Client, own: Actor) -> None:
    now = timezone.now()
    rule = make_rule(own, now=now, time_window_minutes=1)
    end = now.replace(second=0, microsecond=0)
    partitions.make(history.TABLE, {(end - 5 * MINUTE).date(), end.date()})
    spans = [make_span(n, latency_ms=100.0 * n, ended_at=end - n * MINUTE) for n in range(1, 8)]
    store_spans(own, spans)
    for ago in reversed(range(5)):
        at = end - ago * MINUTE
        evaluations.evaluate_project(own.project.pk, at=at, now=at)

    page = browser.get(url_of(rule)).content.decode()

    assert "<polyline" in page
    assert "<title>Threshold 500 ms</title>" in page


def test_rules_are_switched_and_tested_from_the_list(browser: Client, own: Actor) -> None:
    rule = make_rule(own)

    assert "disabled" in told(press(browser, rule, "disable"))
    assert "enabled" in told(press(browser, rule, "enable"))
    assert "on its way" in told(press(browser, rule, "try_now"))
    assert Event.objects.get().subject.startswith("Test: ")
    assert rule.rule_name in browser.get(list_of(AlertRule)).content.decode()


def test_a_test_that_reaches_nobody_is_not_said_to_be_on_its_way(
    browser: Client, own: Actor
) -> None:
    rule = make_rule(own, notify_email=False, notify_webhooks=True)

    said = told(press(browser, rule, "try_now"))

    assert "Nobody would be told. It takes a webhook channel" in said
    assert not Event.objects.exists()


def test_alerts_are_acknowledged_and_resolved(browser: Client, own: Actor) -> None:
    alert = make_alert(make_rule(own), peak_value=900, last_value=800)
    page = browser.get(url_of(alert)).content.decode()

    first = press(browser, alert, "acknowledge")
    second = press(browser, alert, "resolve")

    assert "900 ms" in page
    assert "acknowledged" in told(first)
    assert "resolved" in told(second)
    alert.refresh_from_db()
    assert (alert.acknowledged_by, alert.status) == (own.user, "resolved")
    assert Alert.objects.count() == 1


def test_traces_are_listed_with_their_charts(browser: Client, own: Actor) -> None:
    end = timezone.now().replace(second=0, microsecond=0)
    span = make_span(1, model="gpt", cost=Decimal("0.25"), ended_at=end - MINUTE)
    store_spans(own, [span])
    rollups.pack(own.project.pk, before=end, judged=None, now=end)

    page = browser.get(list_of(Trace)).content.decode()
    narrowed = browser.get(list_of(Trace) + "?model=gpt&operation=chat").content.decode()
    empty = browser.get(list_of(Trace) + "?model=another").content.decode()

    assert page.count("<svg viewBox") == 4
    assert "$0.25" in page
    assert "chat demo" in narrowed
    assert "chat demo" not in empty
    assert "Nothing of this kind" in empty


def test_a_trace_shows_its_attributes(browser: Client, own: Actor) -> None:
    trace = make_trace(own, attributes={"gen_ai.input.messages": "<b>Hello</b>"})

    page = browser.get(url_of(trace)).content.decode()

    assert "&lt;b&gt;Hello&lt;/b&gt;" in page


def test_empty_lists_say_what_to_do(browser: Client) -> None:
    for model, sentence in ((Trace, "/v1/traces"), (AlertRule, "add a rule"), (Alert, "episode")):
        assert sentence in browser.get(list_of(model)).content.decode()
    assert traces.TABLE == "alerts_trace"
