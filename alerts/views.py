"""The API of traces, alert rules and alerts: read the request, call one function, answer."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api.cursors import CursorPagination
from access.api.views import ApiView
from access.errors import Invalid
from access.models import Role, Scope
from alerts import episodes, previews, reports, rulebook, traces
from alerts.evaluation_pages import EvaluationPages
from alerts.filters import AlertFilter, AlertRuleFilter, TraceFilter
from alerts.models import Alert, AlertRule, Trace
from alerts.serializers import (
    AlertRuleSerializer,
    AlertSerializer,
    EvaluationSerializer,
    PreviewRequestSerializer,
    PreviewSerializer,
    ReportSerializer,
    SentSerializer,
    TakenReportsSerializer,
    TraceSerializer,
)

# More errors than this are told as a number only.
_TOLD = 100


class Traces(ApiView):
    queryset = Trace.objects.all()
    serializer_class = TraceSerializer
    filterset_class = TraceFilter
    pagination_class = CursorPagination
    write_scope = Scope.INGEST
    lists = True

    @property
    def max_body_bytes(self) -> int:  # type: ignore[override]  # read when asked, as tests change it
        return int(settings.EVALSCHED_MAX_BODY_TRACES_BYTES)

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(
        request=PolymorphicProxySerializer(
            component_name="Reports",
            serializers=[ReportSerializer, ReportSerializer(many=True)],
            resource_type_field_name=None,
            many=False,
        ),
        responses={201: TakenReportsSerializer},
    )
    def post(self, request: Request) -> Response:
        """Store one span or a list of them. Of a list the good ones are stored."""
        alone = not isinstance(request.data, list)
        given = [request.data] if alone else request.data
        traces.refuse_many(len(given))
        good, errors = [], []
        for index, raw in enumerate(given):
            try:
                good.append(reports.span(raw, now=self.now))
            except Invalid as refusal:
                if alone:
                    raise
                errors.append(
                    {"index": index, "message": refusal.message, "details": refusal.details}
                )
        traces.store(self.actor.project.pk, self.actor.user.pk, good, now=self.now)
        answer = {"accepted": len(good), "rejected": len(errors), "errors": errors[:_TOLD]}
        return Response(answer, status=201)


class _AlertRules(ApiView):
    queryset = rulebook.with_authors(AlertRule.objects.prefetch_related("states"))
    serializer_class: Any = AlertRuleSerializer


class AlertRules(_AlertRules):
    filterset_class = AlertRuleFilter
    ordering_fields = ("rule_name", "created_at", "last_triggered_at")
    lists = True

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(responses={201: AlertRuleSerializer})
    def post(self, request: Request) -> Response:
        return self.shown(rulebook.create(self.actor, now=self.now, **self.given()), status=201)


class OneAlertRule(_AlertRules):
    def get(self, request: Request, rule_id: Any) -> Response:
        return self.shown(self.found(pk=rule_id))

    def patch(self, request: Request, rule_id: Any) -> Response:
        rule = self.found(pk=rule_id)
        fields = self.given(rule, partial=True)
        return self.shown(rulebook.change(self.actor, rule, now=self.now, **fields))

    def delete(self, request: Request, rule_id: Any) -> Response:
        rulebook.delete(self.actor, self.found(pk=rule_id))
        return Response(status=204)


class Evaluations(_AlertRules):
    queryset = AlertRule.objects.all()
    serializer_class = EvaluationSerializer
    pagination_class = EvaluationPages
    lists = True

    def get(self, request: Request, rule_id: Any) -> Response:
        """List the minutes that the rule was looked at, the newest first."""
        pages = EvaluationPages()
        rows = pages.page(self.found(pk=rule_id), request)
        return pages.get_paginated_response(self.get_serializer(rows, many=True).data)


class PreviewAlertRule(_AlertRules):
    serializer_class = PreviewRequestSerializer
    write_scope = Scope.READ
    write_role = Role.VIEWER

    @extend_schema(responses=PreviewSerializer)
    def post(self, request: Request, rule_id: Any) -> Response:
        """Replay the rule over past minutes. Nothing is stored and nobody is told."""
        rule, given = self.found(pk=rule_id), self.given()
        end = min(given.get("end", self.now), self.now)
        found = previews.replay(rule, end=end, minutes=given["minutes"])
        answer = {"notices": previews.notices(found), "evaluations": found}
        return Response(PreviewSerializer(answer).data)


class TestAlertRule(_AlertRules):
    __test__ = False

    serializer_class = SentSerializer

    @extend_schema(request=None, responses={202: SentSerializer})
    def post(self, request: Request, rule_id: Any) -> Response:
        """Send a notification, marked as a test, to whom the rule's own would go."""
        rulebook.send_test(self.actor, self.found(pk=rule_id), now=self.now)
        return self.shown({"sent": True}, status=202)


class _Alerts(ApiView):
    queryset = Alert.objects.select_related("rule")
    serializer_class = AlertSerializer


class Alerts(_Alerts):
    filterset_class = AlertFilter
    ordering_fields = ("created_at", "started_at", "resolved_at")
    lists = True

    def get(self, request: Request) -> Response:
        return self.listed()


class OneAlert(_Alerts):
    def get(self, request: Request, alert_id: Any) -> Response:
        return self.shown(self.found(pk=alert_id))


class AcknowledgeAlert(_Alerts):
    @extend_schema(request=None)
    def post(self, request: Request, alert_id: Any) -> Response:
        """Say that somebody looks after it: it is not told of again until it ends."""
        alert = self.found(pk=alert_id)
        return self.shown(episodes.acknowledge(self.actor, alert, now=self.now))


class ResolveAlert(_Alerts):
    @extend_schema(request=None)
    def post(self, request: Request, alert_id: Any) -> Response:
        """End it. What still holds in the next minute begins another one."""
        alert = self.found(pk=alert_id)
        return self.shown(episodes.resolve(self.actor, alert, now=self.now))
