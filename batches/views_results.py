"""The API of what batches and experiments found, as files."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from access.api.views import ApiView
from access.errors import NotFound
from batches.exports import formats
from batches.models import Batch

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
    queryset = Batch.objects.all()
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
            raise NotFound("There is no experiment of this tracking id in this project.")
        return self.answered(f"experiment-{tracking_id}", found)
