"""The API of endpoints, suites and batches: read the request, call one domain function, answer."""

from typing import Any

from django.conf import settings
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access import audit
from access.api.parsing import FormParser, StrictJSONParser
from access.api.views import ApiView
from access.errors import Invalid
from batches import batches, budgets, calls, cases, endpoints, suites
from batches.filters import BatchFilter, JobFilter
from batches.imports import formats, jsonl
from batches.imports.files import Options
from batches.models import Batch, Job, ModelEndpoint, TestCase, TestSuite
from batches.result_pages import ResultPages
from batches.serializers import (
    BatchChangeSerializer,
    BatchSerializer,
    CheckSerializer,
    ImportedSerializer,
    ImportFileSerializer,
    ImportSerializer,
    JobSerializer,
    ModelEndpointSerializer,
    StartedBatchSerializer,
    TestCaseSerializer,
    TestSuiteSerializer,
)
from batches.serializers_experiments import StartBatchSerializer
from batches.serializers_results import OneBatchSerializer
from batches.starting import answered, started


class ModelEndpoints(ApiView):
    queryset = ModelEndpoint.objects.all()
    serializer_class = ModelEndpointSerializer
    filterset_fields = ("provider", "model")
    ordering_fields = ("name", "created_at")
    lists = True

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(responses={201: ModelEndpointSerializer})
    def post(self, request: Request) -> Response:
        return self.shown(endpoints.create(self.actor, **self.given()), status=201)


class OneModelEndpoint(ApiView):
    queryset = ModelEndpoint.objects.all()
    serializer_class = ModelEndpointSerializer

    def get(self, request: Request, endpoint_id: Any) -> Response:
        return self.shown(self.found(pk=endpoint_id))

    def patch(self, request: Request, endpoint_id: Any) -> Response:
        endpoint = self.found(pk=endpoint_id)
        changed = endpoints.change(self.actor, endpoint, **self.given(endpoint, partial=True))
        return self.shown(changed)

    def delete(self, request: Request, endpoint_id: Any) -> Response:
        endpoints.delete(self.actor, self.found(pk=endpoint_id))
        return Response(status=204)


class CheckModelEndpoint(ApiView):
    """Make one tiny call and say in words whether the endpoint works."""

    queryset = ModelEndpoint.objects.all()
    serializer_class = CheckSerializer
    calls_out = True

    @extend_schema(request=None, responses=CheckSerializer)
    def post(self, request: Request, endpoint_id: Any) -> Response:
        with self.acting():
            endpoint = self.found(pk=endpoint_id)
        result = calls.check_now(endpoints.connection(endpoint), endpoints.private_hosts())
        return self.shown(result)


class TestSuites(ApiView):
    __test__ = False

    queryset = TestSuite.objects.all()
    serializer_class = TestSuiteSerializer
    filterset_fields = ("name",)
    ordering_fields = ("name", "created_at", "updated_at")
    lists = True

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(responses={201: TestSuiteSerializer})
    def post(self, request: Request) -> Response:
        return self.shown(suites.create(self.actor, **self.given()), status=201)


class OneTestSuite(ApiView):
    queryset = TestSuite.objects.all()
    serializer_class = TestSuiteSerializer

    def get(self, request: Request, suite_id: Any) -> Response:
        return self.shown(self.found(pk=suite_id))

    def patch(self, request: Request, suite_id: Any) -> Response:
        suite = self.found(pk=suite_id)
        return self.shown(suites.change(self.actor, suite, **self.given(suite, partial=True)))

    def delete(self, request: Request, suite_id: Any) -> Response:
        suites.delete(self.actor, self.found(pk=suite_id))
        return Response(status=204)


class _OfSuite(ApiView):
    """A view of one suite's cases."""

    queryset = TestCase.objects.all()
    serializer_class: Any = TestCaseSerializer

    def suite(self) -> TestSuite:
        suite: TestSuite = self.found(
            TestSuite.objects.filter(project=self.actor.project), pk=self.kwargs["suite_id"]
        )
        return suite

    def current(self) -> Any:
        return self.get_queryset().filter(suite=self.suite(), removed_in=None)

    def draft(self, raw: object, path: str = "") -> cases.CaseDraft:
        if not isinstance(raw, dict):
            raise Invalid("A case is a JSON object.")
        shown_only = set(TestCaseSerializer.Meta.fields) - set(cases.FIELDS)
        return cases.draft({k: v for k, v in raw.items() if k not in shown_only}, path=path)


class TestCases(_OfSuite):
    __test__ = False

    max_body_bytes = settings.EVALSCHED_MAX_BODY_IMPORT_BYTES
    lists = True

    def get(self, request: Request, suite_id: Any) -> Response:
        return self.listed(self.current())

    @extend_schema(responses={201: TestCaseSerializer})
    def post(self, request: Request, suite_id: Any) -> Response:
        """Add a case; one with a key that exists takes the old one's place, in a new version."""
        suite, draft = self.suite(), self.draft(request.data)
        suites.put(self.actor, suite, [draft])
        return self.shown(self.current().get(key=draft.key), status=201)


class OneTestCase(_OfSuite):
    def get(self, request: Request, suite_id: Any, case_id: Any) -> Response:
        return self.shown(self.found(self.get_queryset().filter(suite=self.suite()), pk=case_id))

    def patch(self, request: Request, suite_id: Any, case_id: Any) -> Response:
        """Edit a case: the answer is the new row, which takes the old one's place."""
        suite, case = self.suite(), self.found(self.current(), pk=case_id)
        if not isinstance(request.data, dict):
            raise Invalid("A case is a JSON object.")
        if request.data.get("key", case.key) != case.key:
            raise Invalid.field("key", "A key names the case and stays. Add another case instead.")
        draft = self.draft(suites.draft_of(case).as_json() | request.data | {"key": case.key})
        suites.put(self.actor, suite, [draft])
        return self.shown(self.current().get(key=draft.key))

    def delete(self, request: Request, suite_id: Any, case_id: Any) -> Response:
        suite, case = self.suite(), self.found(self.current(), pk=case_id)
        suites.remove(self.actor, suite, case)
        return Response(status=204)


class ImportCases(_OfSuite):
    serializer_class = ImportSerializer
    parser_classes = (StrictJSONParser, FormParser)
    max_body_bytes = settings.EVALSCHED_MAX_BODY_IMPORT_BYTES
    # Reading a large file takes seconds, in which no transaction has to be open.
    calls_out = True

    @extend_schema(
        request={
            "application/json": ImportSerializer,
            "multipart/form-data": ImportFileSerializer,
        },
        responses=ImportedSerializer,
    )
    def post(self, request: Request, suite_id: Any) -> Response:
        """Import cases, all or nothing. The same content twice changes nothing."""
        with self.acting():
            suite = self.suite()
        given = self.given()
        file = given.get("file")
        parsed = formats.parse(
            given["content"] if file is None else file.read(),
            format_=given.get("format", ""),
            name="" if file is None else file.name,
            options=Options(prompt=given["prompt"], scorer=given.get("scorer", "")),
        )
        notes = {"notes": list(parsed.notes)} if parsed.notes else {}
        with self.acting():
            if given["dry_run"]:
                found = suites.preview(suite, parsed.drafts, replace=given["replace"])
                first = [{"change": change, **draft.as_json()} for change, draft in found.first]
                return Response({**vars(found.outcome), **notes, "cases": first})
            done = suites.put(self.actor, suite, parsed.drafts, replace=given["replace"])
        return Response({**vars(done), **notes})

    def get_serializer_class(self) -> Any:
        form = (self.request.content_type or "").startswith(FormParser.media_type)
        return ImportFileSerializer if form else ImportSerializer


class ExportCases(_OfSuite):
    calls_out = True

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Take any Accept header: the answer is lines of JSON, and errors are JSON all the same."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(responses={(200, "application/x-ndjson"): OpenApiTypes.STR})
    def get(self, request: Request, suite_id: Any) -> StreamingHttpResponse:
        """The suite's current cases as JSONL, one a line; importing it changes nothing."""
        with self.acting():
            suite = self.suite()
        lines = jsonl.dump(suites.exported(suite, self.acting))
        return StreamingHttpResponse(lines, content_type="application/x-ndjson")


class Batches(ApiView):
    queryset = Batch.objects.evaluations()
    serializer_class = BatchSerializer
    filterset_class = BatchFilter
    ordering_fields = ("created_at", "completed_at", "name")
    starts_work = True
    lists = True

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(request=StartBatchSerializer, responses={202: StartedBatchSerializer})
    def post(self, request: Request) -> Response:
        """Start a batch: one call for every case or document and every repeat."""
        serializer = StartBatchSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return answered(self, started(self, serializer.validated_data))


class OneBatch(ApiView):
    queryset = Batch.objects.evaluations()
    serializer_class = OneBatchSerializer

    def get(self, request: Request, batch_id: Any) -> Response:
        return self.shown(self.found(pk=batch_id))

    @extend_schema(request=BatchChangeSerializer)
    def patch(self, request: Request, batch_id: Any) -> Response:
        batch = self.found(pk=batch_id)
        serializer = BatchChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        budgets.check_change(batch, serializer.validated_data.get("max_cost"))
        for name, value in serializer.validated_data.items():
            setattr(batch, name, value)
        batch.save(update_fields=[*serializer.validated_data, "updated_at"])
        return self.shown(batch)

    def delete(self, request: Request, batch_id: Any) -> Response:
        batches.delete(self.actor, self.found(pk=batch_id), now=self.now)
        return Response(status=204)


class CancelBatch(ApiView):
    queryset = Batch.objects.evaluations()
    serializer_class = BatchSerializer

    @extend_schema(request=None)
    def post(self, request: Request, batch_id: Any) -> Response:
        """Stop the batch. One that has ended is left as it is."""
        batch = self.found(pk=batch_id)
        if batches.cancel(batch, now=self.now):
            audit.record(self.actor, "batch.cancelled", batch)
        batch.refresh_from_db()
        return self.shown(batch)


class ResumeBatch(ApiView):
    queryset = Batch.objects.evaluations()
    serializer_class = BatchSerializer
    starts_work = True

    @extend_schema(request=None, responses={202: BatchSerializer})
    def post(self, request: Request, batch_id: Any) -> Response:
        """Run what is missing or met an error of the endpoint; what has an outcome stays."""
        batch = batches.resume(self.found(pk=batch_id), now=self.now)
        audit.record(self.actor, "batch.resumed", batch)
        return self.shown(batch, status=202)


class Results(ApiView):
    queryset = Job.objects.all()
    serializer_class = JobSerializer
    filterset_class = JobFilter
    ordering_fields = ("ordinal", "score", "latency_ms", "cost")
    pagination_class = ResultPages
    lists = True

    @extend_schema(
        parameters=[OpenApiParameter("tag", OpenApiTypes.STR, description="Cases with this tag.")]
    )
    def get(self, request: Request, batch_id: Any) -> Response:
        batch = self.found(
            Batch.objects.evaluations().filter(project=self.actor.project), pk=batch_id
        )
        return self.listed(self.get_queryset().filter(batch=batch), count=batch.total)
