"""The API of agents, documents and experiments."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api.views import ApiView
from access.errors import Invalid
from batches import agents, documents, endpoints, experiments
from batches.documents import Draft
from batches.filters import AgentFilter, DocumentFilter, ExperimentFilter
from batches.models import Agent, Batch, Document
from batches.serializers_experiments import (
    AgentSerializer,
    DocumentSerializer,
    ExperimentSerializer,
    ExtendSerializer,
    ListedDocumentSerializer,
)


class _Agents(ApiView):
    queryset = Agent.objects.select_related("endpoint", "ephemeral_batch")
    serializer_class: Any = AgentSerializer

    def fields(self, agent: Agent | None = None) -> dict[str, Any]:
        given = self.given(agent, partial=agent is not None)
        if "endpoint_id" in given:
            given["endpoint"] = endpoints.find(self.actor.project.pk, given.pop("endpoint_id"))
        return given


class Agents(_Agents):
    filterset_class = AgentFilter
    ordering_fields = ("name", "created_at")
    lists = True

    def get(self, request: Request) -> Response:
        """The project's agents; those of experiments where they are asked for."""
        return self.listed()

    @extend_schema(responses={201: AgentSerializer})
    def post(self, request: Request) -> Response:
        return self.shown(agents.create(self.actor, **self.fields()), status=201)


class OneAgent(_Agents):
    def get(self, request: Request, agent_id: Any) -> Response:
        return self.shown(self.found(pk=agent_id))

    def patch(self, request: Request, agent_id: Any) -> Response:
        agent = self.found(pk=agent_id)
        return self.shown(agents.change(self.actor, agent, **self.fields(agent)))

    def delete(self, request: Request, agent_id: Any) -> Response:
        agents.delete(self.actor, self.found(pk=agent_id))
        return Response(status=204)


class Documents(ApiView):
    queryset = Document.objects.select_related("ephemeral_batch").defer("content")
    serializer_class: Any = ListedDocumentSerializer
    filterset_class = DocumentFilter
    ordering_fields = ("title", "created_at")
    starts_work = True
    lists = True

    def get(self, request: Request) -> Response:
        """The project's documents; those of experiments where they are asked for."""
        return self.listed()

    @extend_schema(request=DocumentSerializer, responses={201: DocumentSerializer})
    def post(self, request: Request) -> Response:
        serializer = DocumentSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        draft = Draft(
            title=given.get("title", ""),
            content=given.get("content", ""),
            url=given.get("source_url", ""),
        )
        document = documents.create(self.actor, draft)
        return Response(DocumentSerializer(document).data, status=201)


class OneDocument(ApiView):
    queryset = Document.objects.select_related("ephemeral_batch")
    serializer_class = DocumentSerializer

    def get(self, request: Request, document_id: Any) -> Response:
        return self.shown(self.found(pk=document_id))

    def patch(self, request: Request, document_id: Any) -> Response:
        document = self.found(pk=document_id)
        fields = self.given(document, partial=True)
        return self.shown(documents.change(self.actor, document, **fields))

    def delete(self, request: Request, document_id: Any) -> Response:
        documents.delete(self.actor, self.found(pk=document_id))
        return Response(status=204)


class Experiments(ApiView):
    queryset = Batch.objects.all()
    serializer_class: Any = ExperimentSerializer
    filterset_class = ExperimentFilter
    ordering_fields = ("created_at", "expires_at", "tracking_id")
    lists = True

    def get(self, request: Request) -> Response:
        """The project's experiments, newest first; expired ones where they are asked for."""
        return self.listed(experiments.summed(self.get_queryset()))


class DeleteExperiment(ApiView):
    """Half of an experiment's address; the other half compares its batches and lies above."""

    queryset = Batch.objects.all()

    @extend_schema(
        parameters=[
            OpenApiParameter("cancel", OpenApiTypes.BOOL, description="Cancel what is under way.")
        ]
    )
    def delete(self, request: Request, tracking_id: str) -> Response:
        """Delete the experiment with everything it owns. Tombstones remain."""
        wish = request.query_params.get("cancel", "false")
        if wish not in ("true", "false"):
            raise Invalid.field("cancel", "This is true or false.")
        experiments.delete(self.actor, tracking_id, cancel=wish == "true", now=self.now)
        return Response(status=204)


class ExtendExperiment(ApiView):
    queryset = Batch.objects.all()
    serializer_class = ExtendSerializer

    @extend_schema(responses=ExperimentSerializer)
    def post(self, request: Request, tracking_id: str) -> Response:
        """Let the experiment expire so many days from now."""
        days = self.given()["expires_in_days"]
        experiments.extend(self.actor, tracking_id, days=days, now=self.now)
        rows = self.get_queryset().filter(tracking_id=tracking_id)
        return Response(ExperimentSerializer(experiments.summed(rows).get()).data)
