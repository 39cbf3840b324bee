"""The API of what batches and experiments found: by case, side by side, anew, and as files."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api.views import ApiView
from batches import case_comparisons, case_results, experiments, rescoring
from batches.case_comparisons import Order, Show
from batches.exports import formats
from batches.filters import CaseResultFilter
from batches.models import Batch, Job
from batches.serializers import BatchSerializer
from batches.serializers_results import (
    CaseResultSerializer,
    CompareBatchesSerializer,
    ComparedCaseSerializer,
)


class RescoreBatch(ApiView):
    queryset = Batch.objects.evaluations()
    serializer_class = BatchSerializer
    starts_work = True

    @extend_schema(request=None, responses={201: BatchSerializer})
    def post(self, request: Request, batch_id: Any) -> Response:
        """Score the stored answers by the suite as it is now, into a new batch. Makes no call."""
        made = rescoring.rescore(self.actor, self.found(pk=batch_id), now=self.now)
        return self.shown(made, status=201)


class CaseResults(ApiView):
    queryset = Job.objects.all()
    serializer_class = CaseResultSerializer
    filterset_class = CaseResultFilter
    lists = True

    def get(self, request: Request, batch_id: Any) -> Response:
        """The batch's cases in their order, the repeats of each taken together."""
        batch = self.found(
            Batch.objects.evaluations().filter(project=self.actor.project), pk=batch_id
        )
        return self.listed(case_results.of(batch), count=batch.total // batch.repeats)


class CompareBatches(ApiView):
    queryset = Batch.objects.evaluations()
    serializer_class = ComparedCaseSerializer
    filter_backends = ()
    lists = True

    @extend_schema(
        parameters=[CompareBatchesSerializer], responses=ComparedCaseSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """Cases of 2 to 10 batches side by side."""
        asked = CompareBatchesSerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        batches = case_comparisons.find(self.actor.project.pk, wanted["ids"])
        rows = case_comparisons.compare(
            batches,
            Show.RESULTS if wanted["only_different"] else Show(wanted["show"]),
            Order.WORST if wanted["ordering"] == "-loss" else Order.SUITE,
        )
        page: Any = self.paginate_queryset(rows)
        answers = case_comparisons.answers(page)
        context = {**self.get_serializer_context(), "answers": answers}
        shown = ComparedCaseSerializer(page, many=True, context=context)
        return self.get_paginated_response(shown.data)


_DECLARED = extend_schema(
    parameters=[
        OpenApiParameter(
            "format",
            OpenApiTypes.STR,
            enum=list(formats.MEDIA_TYPES),
            default="jsonl",
            description="junit asks for batches that have ended.",
        )
    ],
    responses={
        (200, media_type.partition(";")[0]): OpenApiTypes.STR
        for media_type in formats.MEDIA_TYPES.values()
    },
)


class _Export(ApiView):
    queryset = Batch.objects.evaluations()
    calls_out = True

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Take any Accept header: `format` says what is wanted, and errors are JSON anyway."""
        return super().perform_content_negotiation(request, force=True)

    def answered(self, name: str, batches: list[Batch]) -> StreamingHttpResponse:
        wanted = self.request.query_params.get("format", "jsonl")
        made = formats.export(name, wanted, batches, self.acting)
        answer = StreamingHttpResponse(made.pieces, content_type=made.media_type)
        answer["Content-Disposition"] = f'attachment; filename="{made.name}"'
        return answer


class ExportBatch(_Export):
    @_DECLARED
    def get(self, request: Request, batch_id: Any) -> StreamingHttpResponse:
        """Every call of the batch with its results, as a file."""
        with self.acting():
            batch = self.found(pk=batch_id)
        return self.answered(f"batch-{batch.pk}", [batch])


class ExportExperiment(_Export):
    @_DECLARED
    def get(self, request: Request, tracking_id: str) -> StreamingHttpResponse:
        """Every call of the experiment's batches, oldest batch first, as a file."""
        with self.acting():
            found = list(self.get_queryset().filter(tracking_id=tracking_id).order_by("created_at"))
            if not found:
                raise experiments.missing(self.actor.project.pk, tracking_id)
        return self.answered(f"experiment-{tracking_id}", found)
