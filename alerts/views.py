"""The API of traces, alert rules and alerts: read the request, call one function, answer."""

from django.conf import settings
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api.cursors import CursorPagination
from access.api.views import ApiView
from access.errors import Invalid
from access.models import Scope
from alerts import reports, traces
from alerts.filters import TraceFilter
from alerts.models import Trace
from alerts.serializers import ReportSerializer, TakenReportsSerializer, TraceSerializer

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
        ),
        responses={201: TakenReportsSerializer},
    )
    def post(self, request: Request) -> Response:
        """Store one span or a list of them. Of a list the good ones are stored."""
        alone = not isinstance(request.data, list)
        given = [request.data] if alone else request.data
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
