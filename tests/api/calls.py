"""A request for every route of the API, which somebody else makes: a route without one fails."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """A request that names the other project's things as {thing}, in its path and its body.

    `answers` is what somebody else gets: `refused` (404, or 400 where a field of the body or the
    query is to blame), `empty` (a list without anything of theirs), `own` (it works, and concerns
    the caller's own project only), `taken` (the same, of what is not shown again) or `nobodys` (it
    concerns no rows at all).
    """

    method: str
    path: str
    answers: str = "refused"
    body: dict[str, Any] | None = field(default=None, hash=False)
    session_only: bool = False
    # What a viewer may do as well: it changes nothing, or concerns the caller alone.
    personal: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


_SCHEDULE = {"name": "Mine", "schedule_type": "hourly"}
_MODEL = {"name": "Mine", "provider": "demo", "model": "demo"}
_CASE = {"key": "mine", "prompt": "Hello"}
_TRACE = {"span_name": "chat", "latency_ms": 5, "status": "success"}
_RULE = {
    "rule_name": "Mine",
    "metric_type": "latency",
    "threshold_value": 1,
    "comparison_operator": ">",
    "time_window_minutes": 5,
    "aggregation_method": "max",
}
_CHANNEL = {"kind": "email", "name": "Mine", "configuration": {"address": "me@example.org"}}
_PREFERENCE = {"alert_type": "job_failed", "channel": "email", "enabled": False}
_MODEL_RUN = {"schedule": "0 * * * *", "parameters": {"prompt": "Hello"}}

CALLS = [
    Call("GET", "me", "own"),
    Call("GET", "projects", "own"),
    Call("POST", "projects", "own", {"name": "Mine", "id": "{project}"}, session_only=True),
    Call("GET", "projects/{project}"),
    Call("PATCH", "projects/{project}", body={"name": "Taken"}),
    Call("GET", "projects/{project}/members"),
    Call("POST", "projects/{project}/members", body={"username": "{intruder}"}),
    Call("GET", "projects/{project}/members/{member}"),
    Call("PATCH", "projects/{project}/members/{member}", body={"role": "viewer"}),
    Call("DELETE", "projects/{project}/members/{member}"),
    Call("GET", "projects/{own_project}/members/{member}"),
    Call("PATCH", "projects/{own_project}/members/{member}", body={"role": "viewer"}),
    Call("DELETE", "projects/{own_project}/members/{member}"),
    Call("GET", "keys", "own", session_only=True),
    Call("POST", "keys", "own", {"name": "k", "scopes": ["read"]}, session_only=True),
    Call("GET", "keys/{key}", session_only=True),
    Call("DELETE", "keys/{key}", session_only=True),
    Call("GET", "audit", "own"),
    Call("GET", "audit?object_id={suite}", "empty"),
    Call("GET", "models", "own"),
    Call("POST", "models", "own", _MODEL | {"project_id": "{project}", "user_id": "{user}"}),
    Call("GET", "models/{endpoint}"),
    Call("PATCH", "models/{endpoint}", body={"name": "Taken"}),
    Call("DELETE", "models/{endpoint}"),
    Call("POST", "models/{endpoint}/check"),
    Call("GET", "test-suites", "own"),
    Call("GET", "test-suites?name=Suite of Antarctica", "empty"),
    Call("POST", "test-suites", "own", {"name": "Mine", "project_id": "{project}"}),
    Call("GET", "test-suites/{suite}"),
    Call("PATCH", "test-suites/{suite}", body={"name": "Taken"}),
    Call("DELETE", "test-suites/{suite}"),
    Call("GET", "test-suites/{suite}/cases"),
    Call("POST", "test-suites/{suite}/cases", body=_CASE),
    Call("GET", "test-suites/{suite}/cases/{case}"),
    Call("PATCH", "test-suites/{suite}/cases/{case}", body={"prompt": "Taken"}),
    Call("DELETE", "test-suites/{suite}/cases/{case}"),
    Call("GET", "test-suites/{own_suite}/cases/{case}"),
    Call("PATCH", "test-suites/{own_suite}/cases/{case}", body={"prompt": "Taken"}),
    Call("DELETE", "test-suites/{own_suite}/cases/{case}"),
    Call(
        "POST",
        "test-suites/{suite}/import",
        body={"format": "jsonl", "content": '{"prompt": "x"}', "replace": True},
    ),
    Call("GET", "test-suites/{suite}/export"),
    Call("GET", "notification-channels", "empty"),
    Call("POST", "notification-channels", "own", _CHANNEL | {"project_id": "{project}"}),
    Call("GET", "notification-channels/{channel}"),
    Call("PATCH", "notification-channels/{channel}", body={"name": "Taken"}),
    Call("DELETE", "notification-channels/{channel}"),
    Call("POST", "notification-channels/{channel}/test"),
    Call("POST", "notification-channels/{channel}/rotate-secret"),
    Call("GET", "notification-preferences", "own"),
    Call("PUT", "notification-preferences", "own", _PREFERENCE, personal=True),
    Call("GET", "notifications", "empty"),
    Call("GET", "notifications?channel_id={channel}", "empty"),
    Call("GET", "notifications?event_id={event}", "empty"),
    Call("GET", "notifications/{notification}"),
    Call("POST", "notifications/{notification}/replay"),
    Call("GET", "agents", "own"),
    Call("GET", "agents?model_id={endpoint}", "empty"),
    Call("GET", "agents?tracking_id=trial-of-Antarctica", "empty"),
    Call("POST", "agents", body={"name": "Mine", "model_id": "{endpoint}"}),
    Call("GET", "agents/{agent}"),
    Call("PATCH", "agents/{agent}", body={"name": "Taken"}),
    Call("DELETE", "agents/{agent}"),
    Call("GET", "documents", "own"),
    Call("GET", "documents?tracking_id=trial-of-Antarctica", "empty"),
    Call("POST", "documents", "own", {"content": "Mine", "project_id": "{project}"}),
    Call("GET", "documents/{document}"),
    Call("PATCH", "documents/{document}", body={"title": "Taken"}),
    Call("DELETE", "documents/{document}"),
    Call("GET", "experiments", "empty"),
    Call("GET", "experiments/trial-of-Antarctica"),
    Call("DELETE", "experiments/trial-of-Antarctica?cancel=true"),
    Call("POST", "experiments/trial-of-Antarctica/extend", body={"expires_in_days": 9}),
    Call("GET", "experiments/trial-of-Antarctica/export"),
    Call("GET", "batches/{batch}/export"),
    Call("GET", "batches/{batch}/cases"),
    Call("POST", "batches/{batch}/rescore"),
    Call("GET", "batches/compare?ids={own_batch},{batch}"),
    Call(
        "POST",
        "batches/estimate",
        body={"test_suite_id": "{suite}", "model_id": "{own_endpoint}"},
        personal=True,
    ),
    Call("GET", "batches", "own"),
    Call("GET", "batches?test_suite_id={suite}", "empty"),
    Call("GET", "batches?model_id={endpoint}", "empty"),
    Call("POST", "batches", body={"test_suite_id": "{suite}", "model_id": "{own_endpoint}"}),
    Call("POST", "batches", body={"test_suite_id": "{own_suite}", "model_id": "{endpoint}"}),
    Call(
        "POST",
        "batches",
        body={"test_suite_id": "{own_suite}", "model_id": "Endpoint of Antarctica"},
    ),
    Call("POST", "batches", body={"test_suite_id": "{own_suite}", "agent_id": "{agent}"}),
    Call("POST", "batches", body={"document_ids": ["{document}"], "model_id": "{own_endpoint}"}),
    Call(
        "POST",
        "batches",
        body={
            "test_suite_id": "{own_suite}",
            "is_ephemeral": True,
            "ephemeral_agent": {"name": "Mine", "model_id": "{endpoint}"},
        },
    ),
    Call("GET", "batches?tracking_id=trial-of-Antarctica", "empty"),
    Call("GET", "batches/{batch}"),
    Call("PATCH", "batches/{batch}", body={"name": "Taken"}),
    Call("DELETE", "batches/{batch}"),
    Call("POST", "batches/{batch}/cancel"),
    Call("POST", "batches/{batch}/resume"),
    Call("GET", "batches/{batch}/results"),
    Call(
        "POST",
        "batch-testing/run",
        body={"config": {"test_suite_id": "{suite}", "model_id": "{endpoint}"}},
    ),
    Call("GET", "scheduled-evaluations", "own"),
    Call("GET", "scheduled-evaluations?test_suite_id={suite}", "empty"),
    Call("GET", "scheduled-evaluations?model_id={endpoint}", "empty"),
    Call(
        "POST",
        "scheduled-evaluations",
        body=_SCHEDULE | {"test_suite_id": "{suite}", "model_id": "{own_endpoint}"},
    ),
    Call(
        "POST",
        "scheduled-evaluations",
        body=_SCHEDULE | {"test_suite_id": "{own_suite}", "model_id": "{endpoint}"},
    ),
    Call("GET", "scheduled-evaluations/{schedule}"),
    Call("PATCH", "scheduled-evaluations/{schedule}", body={"name": "Taken"}),
    Call("PATCH", "scheduled-evaluations/{own_schedule}", body={"test_suite_id": "{suite}"}),
    Call("PATCH", "scheduled-evaluations/{own_schedule}", body={"model_id": "{endpoint}"}),
    Call("DELETE", "scheduled-evaluations/{schedule}"),
    Call("POST", "scheduled-evaluations/{schedule}/toggle"),
    Call("POST", "scheduled-evaluations/{schedule}/trigger"),
    Call("GET", "scheduled-evaluations/{schedule}/upcoming"),
    Call(
        "POST",
        "scheduled-evaluations/{schedule}/backfill",
        body={"start": "2025-01-01T00:00:00Z", "end": "2025-01-01T05:00:00Z"},
    ),
    Call(
        "POST",
        "scheduled-evaluations/preview",
        "nobodys",
        {"schedule_type": "hourly"},
        personal=True,
    ),
    Call("GET", "scheduled-evaluations/{schedule}/runs.csv"),
    Call("POST", "scheduled-evaluations/{schedule}/baseline", body={"run_id": None}),
    Call("POST", "scheduled-evaluations/{own_schedule}/baseline", body={"run_id": "{run}"}),
    Call("GET", "scheduled-evaluations/{schedule}/runs"),
    Call("GET", "scheduled-evaluations/{schedule}/runs/{run}"),
    Call("GET", "scheduled-evaluations/{own_schedule}/runs/{run}"),
    Call("POST", "scheduled-evaluations/{schedule}/runs/{run}/cancel"),
    Call("POST", "scheduled-evaluations/{own_schedule}/runs/{run}/cancel"),
    Call(
        "POST",
        "runs/compare",
        body={"baseline": "{run}", "candidate": "{own_batch}"},
        personal=True,
    ),
    Call(
        "POST",
        "runs/compare",
        body={"baseline": "{own_batch}", "candidate": "{run}"},
        personal=True,
    ),
    Call(
        "POST",
        "runs/compare",
        body={"baseline": "{own_batch}", "candidate": "{batch}"},
        personal=True,
    ),
    Call("GET", "scheduled", "own"),
    Call("GET", "scheduled?model_name=Endpoint of Antarctica", "empty"),
    Call("POST", "scheduled", body=_MODEL_RUN | {"model_name": "{endpoint}"}),
    Call("POST", "scheduled", body=_MODEL_RUN | {"model_name": "Endpoint of Antarctica"}),
    Call("GET", "scheduled/{model_run}"),
    Call("GET", "scheduled/{schedule}"),
    Call("PATCH", "scheduled/{model_run}", body={"enabled": False}),
    Call("PATCH", "scheduled/{own_model_run}", body={"model_name": "{endpoint}"}),
    Call("PUT", "scheduled/{model_run}", body=_MODEL_RUN),
    Call("PUT", "scheduled/{own_model_run}", body=_MODEL_RUN | {"model_name": "{endpoint}"}),
    Call("DELETE", "scheduled/{model_run}"),
    Call("POST", "scheduled/{model_run}/trigger"),
    Call("GET", "scheduled/{model_run}/executions"),
    Call("GET", "analytics/traces", "empty"),
    Call("GET", "analytics/traces?model=Model of Antarctica", "empty"),
    Call("POST", "analytics/traces", "taken", _TRACE | {"project_id": "{project}"}),
    Call("GET", "analytics/alert-rules", "own"),
    Call("POST", "analytics/alert-rules", "own", _RULE | {"project_id": "{project}"}),
    Call("GET", "analytics/alert-rules/{rule}"),
    Call("PATCH", "analytics/alert-rules/{rule}", body={"rule_name": "Taken"}),
    Call("DELETE", "analytics/alert-rules/{rule}"),
    Call("GET", "analytics/alert-rules/{rule}/evaluations"),
    Call("POST", "analytics/alert-rules/{rule}/preview", body={"minutes": 5}, personal=True),
    Call("POST", "analytics/alert-rules/{rule}/test"),
    Call("GET", "alerts", "empty"),
    Call("GET", "alerts?rule_id={rule}", "empty"),
    Call("GET", "alerts/{alert}"),
    Call("POST", "alerts/{alert}/acknowledge"),
    Call("POST", "alerts/{alert}/resolve"),
]
