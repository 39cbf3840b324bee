"""The API of scheduled model runs: read the request, call one domain function, answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api.views import ApiView
from access.errors import Invalid
from batches import endpoints
from evalsched import model_runs, runs
from evalsched.filters import ModelRunFilter
from evalsched.models import Execution, ModelRun
from evalsched.serializers_model_runs import (
    ExecutionSerializer,
    ModelRunSerializer,
    ReplaceModelRunSerializer,
)

# The domain's names of fields, where the body's differ.
_NAMES = {"cron_expression": "schedule", "is_active": "enabled"}


class _ModelRuns(ApiView):
    queryset = ModelRun.objects.select_related("endpoint")
    serializer_class: Any = ModelRunSerializer

    def fields(self, row: ModelRun | None = None, *, partial: bool = False) -> dict[str, Any]:
        """Return the body's fields as the domain names them, its model looked up."""
        given = self.given(row, partial=partial)
        if "endpoint" in given:
            given["endpoint"] = endpoints.find(
                self.actor.project.pk, given["endpoint"], field="model_name"
            )
        return given


@contextmanager
def _in_its_words() -> Iterator[None]:
    """Let complaints name the fields of the body."""
    try:
        yield
    except Invalid as refusal:
        details = {_NAMES.get(name, name): said for name, said in refusal.details.items()}
        raise Invalid(refusal.message, details) from None


class ModelRuns(_ModelRuns):
    filterset_class = ModelRunFilter
    ordering_fields = ("created_at", "next_run_at", "last_run_at")
    lists = True

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(responses={201: ModelRunSerializer})
    def post(self, request: Request) -> Response:
        with _in_its_words():
            row = model_runs.create(self.actor, now=self.now, **self.fields())
        return self.shown(row, status=201)


class OneModelRun(_ModelRuns):
    def get(self, request: Request, model_run_id: Any) -> Response:
        return self.shown(self.found(pk=model_run_id))

    def patch(self, request: Request, model_run_id: Any) -> Response:
        row = self.found(pk=model_run_id)
        return self._changed(row, self.fields(row, partial=True))

    @extend_schema(request=ReplaceModelRunSerializer, responses=ModelRunSerializer)
    def put(self, request: Request, model_run_id: Any) -> Response:
        """Replace all fields; `model_name` may be left out and stays then."""
        row = self.found(pk=model_run_id)
        return self._changed(row, self.fields(row))

    def delete(self, request: Request, model_run_id: Any) -> Response:
        model_runs.delete(self.actor, self.found(pk=model_run_id), now=self.now)
        return Response(status=204)

    def get_serializer_class(self) -> Any:
        replaces = self.request is not None and self.request.method == "PUT"
        return ReplaceModelRunSerializer if replaces else ModelRunSerializer

    def _changed(self, row: ModelRun, fields: dict[str, Any]) -> Response:
        with _in_its_words():
            row = model_runs.change(self.actor, row, now=self.now, **fields)
        return self.shown(row)


class TriggerModelRun(_ModelRuns):
    serializer_class = ExecutionSerializer
    starts_work = True

    @extend_schema(request=None, responses={202: ExecutionSerializer})
    def post(self, request: Request, model_run_id: Any) -> Response:
        """Run now, whether or not it is enabled."""
        made = runs.trigger(self.actor, self.found(pk=model_run_id), now=self.now)
        return self.shown(Execution.objects.get(pk=made.pk), status=202)


class Executions(ApiView):
    queryset = Execution.objects.all()
    serializer_class = ExecutionSerializer
    ordering_fields = ("scheduled_for", "started_at", "completed_at")
    lists = True

    def get(self, request: Request, model_run_id: Any) -> Response:
        own = ModelRun.objects.filter(project=self.actor.project)
        return self.listed(self.get_queryset().filter(schedule=self.found(own, pk=model_run_id)))
