"""The API of experiments, whose batches are compared, and of what a batch would take and see."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api.views import ApiView
from access.models import Role, Scope
from batches import experiments
from batches.models import Batch
from batches.serializers import BatchSerializer
from batches.serializers_experiments import ExperimentSerializer, StartBatchSerializer
from batches.starting import estimated
from batches.views_experiments import DeleteExperiment
from evalsched import comparisons, detection
from evalsched.serializers_comparisons import EstimateSerializer, OneExperimentSerializer


class OneExperiment(DeleteExperiment):
    serializer_class: Any = OneExperimentSerializer

    def get(self, request: Request, tracking_id: str) -> Response:
        """All batches of the project with that tracking id, compared with the first of them."""
        rows = self.get_queryset().filter(tracking_id=tracking_id)
        summary = experiments.summed(rows).first()
        if summary is None:
            raise experiments.missing(self.actor.project.pk, tracking_id)
        batches = list(rows.order_by("created_at"))
        runs = BatchSerializer(batches, many=True, context=self.get_serializer_context())
        comparison = comparisons.of_experiment(batches)
        return Response(
            ExperimentSerializer(summary).data | {"runs": runs.data, "comparison": comparison}
        )


class EstimateBatch(ApiView):
    queryset = Batch.objects.all()
    serializer_class = StartBatchSerializer
    write_scope = Scope.READ
    write_role = Role.VIEWER

    @extend_schema(responses={200: EstimateSerializer})
    def post(self, request: Request) -> Response:
        """Say what the same body would start under POST /api/batches. Starts nothing."""
        given = self.given()
        found, sees = estimated(self, given), None
        if "test_suite_id" in given:
            sees = detection.of_suite(found.items, repeats=given.get("repeats", 1))
        return Response(EstimateSerializer(vars(found) | {"detects": sees}).data)
