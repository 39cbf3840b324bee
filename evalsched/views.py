"""The API of schedules and runs: read the request, call one domain function, answer."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access import audit
from access.api.views import ApiView
from access.errors import Conflict, Invalid, NotFound
from access.models import Role, Scope
from batches import agents, endpoints, suites
from batches.models import Batch
from batches.serializers import StartedBatchSerializer
from batches.serializers_experiments import BatchTestRunSerializer
from batches.starting import answered, started
from evalsched import (
    agenda,
    backfills,
    baselines,
    comparisons,
    occurrences,
    run_lines,
    runs,
    schedules,
)
from evalsched.filters import RunFilter, ScheduleFilter
from evalsched.models import PARTS, Run, RunTrigger, Schedule
from evalsched.occurrences import Occurrence, Timing
from evalsched.serializers import (
    BackfillSerializer,
    BaselineSerializer,
    CompareSerializer,
    ComparisonSerializer,
    CountSerializer,
    NewBackfillSerializer,
    PreviewSerializer,
    RunSerializer,
    ScheduleSerializer,
    TimesSerializer,
)

SCHEDULED = "X-Scheduled-Evaluation"
SCHEDULE_ID = "X-Scheduled-Evaluation-Id"


class _Schedules(ApiView):
    queryset = Schedule.objects.evaluations().select_related(*PARTS)
    serializer_class: Any = ScheduleSerializer

    def fields(self, schedule: Schedule | None = None) -> dict[str, Any]:
        """Return the body's fields as the domain names them, its ids looked up in the project."""
        given = self.given(schedule, partial=schedule is not None)
        project_id = self.actor.project.pk
        if "suite_id" in given:
            given["suite"] = suites.find(project_id, given.pop("suite_id"))
        if "endpoint_id" in given:
            given["endpoint"] = endpoints.find(project_id, given.pop("endpoint_id"))
        if "agent_id" in given:
            agent_id = given.pop("agent_id")
            given["agent"] = None if agent_id is None else agents.find(project_id, agent_id)
        return given | {
            name: given[name] or "" for name in ("dst_gap", "dst_overlap") if name in given
        }


class Schedules(_Schedules):
    filterset_class = ScheduleFilter
    ordering_fields = ("name", "next_run_at", "last_run_at", "created_at")
    lists = True

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(responses={201: ScheduleSerializer})
    def post(self, request: Request) -> Response:
        schedule = schedules.create(self.actor, now=self.now, **self.fields())
        return self.shown(schedule, status=201)


class OneSchedule(_Schedules):
    def get(self, request: Request, schedule_id: Any) -> Response:
        return self.shown(self.found(pk=schedule_id))

    def patch(self, request: Request, schedule_id: Any) -> Response:
        schedule = self.found(pk=schedule_id)
        fields = self.fields(schedule)
        return self.shown(schedules.change(self.actor, schedule, now=self.now, **fields))

    def delete(self, request: Request, schedule_id: Any) -> Response:
        schedules.delete(self.actor, self.found(pk=schedule_id), now=self.now)
        return Response(status=204)


class ToggleSchedule(_Schedules):
    @extend_schema(request=None)
    def post(self, request: Request, schedule_id: Any) -> Response:
        """Switch the schedule on, or off if it is on."""
        schedule = self.found(pk=schedule_id)
        return self.shown(schedules.toggle(self.actor, schedule, now=self.now))


class TriggerSchedule(_Schedules):
    serializer_class = RunSerializer
    starts_work = True

    @extend_schema(request=None, responses={202: RunSerializer})
    def post(self, request: Request, schedule_id: Any) -> Response:
        """Run now, whether or not the schedule is active."""
        schedule = self.found(pk=schedule_id)
        run = runs.trigger(self.actor, schedule, now=self.now, kind=RunTrigger.MANUAL)
        return self.shown(run, status=202)


class BackfillSchedule(_Schedules):
    serializer_class = NewBackfillSerializer
    starts_work = True

    @extend_schema(responses={200: BackfillSerializer, 202: BackfillSerializer})
    def post(self, request: Request, schedule_id: Any) -> Response:
        """Run the occurrences of a range of the past; `dry_run` only says which."""
        schedule = self.found(pk=schedule_id)
        given = self.given()
        if given["dry_run"]:
            plan = backfills.plan(schedule, given["start"], given["end"], now=self.now)
            return Response(BackfillSerializer(plan).data)
        made = backfills.start(self.actor, schedule, given["start"], given["end"], now=self.now)
        return Response(BackfillSerializer(made).data, status=202)


class Upcoming(_Schedules):
    serializer_class = TimesSerializer

    @extend_schema(parameters=[CountSerializer])
    def get(self, request: Request, schedule_id: Any) -> Response:
        """The next times of a schedule, within its limits; none while it is not active."""
        schedule = self.found(pk=schedule_id)
        asked = CountSerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        times = agenda.timing(schedule)
        found = agenda.upcoming(schedule, self.now, asked.validated_data["count"])
        return Response(_times(times, found, self.now))


class Preview(ApiView):
    queryset = Schedule.objects.all()
    serializer_class = PreviewSerializer
    write_scope = Scope.READ
    write_role = Role.VIEWER

    @extend_schema(responses=TimesSerializer)
    def post(self, request: Request) -> Response:
        """Say when a schedule would fire that is not saved. Changes nothing."""
        given = self.given()
        after, until, count = (given.pop(name, None) for name in ("after", "until", "count"))
        times = Timing(**given)
        occurrences.validate(times)
        found = occurrences.preview(times, after or self.now, until, count)
        return Response(_times(times, found, self.now))


def _times(times: Timing, found: list[Occurrence], now: datetime) -> dict[str, Any]:
    shown: dict[str, Any] = TimesSerializer(
        {
            "description": occurrences.describe(times),
            "warnings": occurrences.warnings(times, now),
            "occurrences": found,
        }
    ).data
    return shown


class BatchTestingRun(ApiView):
    """The start of a batch under the address and shape of older clients."""

    queryset = Batch.objects.all()
    serializer_class = BatchTestRunSerializer
    starts_work = True

    @extend_schema(
        parameters=[
            OpenApiParameter(SCHEDULED, OpenApiTypes.BOOL, OpenApiParameter.HEADER),
            OpenApiParameter(SCHEDULE_ID, OpenApiTypes.UUID, OpenApiParameter.HEADER),
        ],
        responses={202: StartedBatchSerializer},
    )
    def post(self, request: Request) -> Response:
        """Start a batch; with the two headers it is also recorded as a run of that schedule."""
        given = self.given()["config"]
        schedule = self._schedule()
        if schedule is None:
            return answered(self, started(self, given))
        batch = started(self, given, deadline_at=runs.deadline(self.now))
        run = runs.record(self.actor, schedule, batch, now=self.now)
        return answered(self, batch, scheduled_evaluation_run_id=str(run.pk))

    def _schedule(self) -> Schedule | None:
        wanted = self.request.headers.get(SCHEDULED, "").strip().lower()
        asked = self.request.headers.get(SCHEDULE_ID, "").strip()
        if wanted not in {"", "true", "1", "false", "0"}:
            raise Invalid(f"{SCHEDULED} is 'true' or 'false', not '{wanted[:50]}'.")
        if asked and not wanted:
            raise Invalid(f"{SCHEDULE_ID} needs {SCHEDULED}: true.")
        if wanted not in {"true", "1"}:
            return None
        if not asked:
            raise Invalid(f"{SCHEDULED} needs {SCHEDULE_ID}, which names the schedule.")
        try:
            key = uuid.UUID(asked)
        except ValueError:
            raise NotFound("There is no such schedule in this project.") from None
        schedule: Schedule = self.found(
            Schedule.objects.evaluations()
            .filter(project=self.actor.project)
            .select_related(*PARTS),
            pk=key,
        )
        return schedule


class Baseline(_Schedules):
    serializer_class = BaselineSerializer

    @extend_schema(responses={200: ScheduleSerializer})
    def post(self, request: Request, schedule_id: Any) -> Response:
        """Choose the run that the schedule's runs are compared with; null: the last good one."""
        schedule, run_id = self.found(pk=schedule_id), self.given()["run_id"]
        run = None if run_id is None else baselines.find(schedule, run_id)
        chosen = baselines.pin(self.actor, schedule, run)
        return Response(ScheduleSerializer(chosen, context=self.get_serializer_context()).data)


class _Runs(ApiView):
    queryset = Run.objects.evaluations()
    serializer_class = RunSerializer

    def of_schedule(self) -> Any:
        schedule = self.found(
            Schedule.objects.evaluations().filter(project=self.actor.project),
            pk=self.kwargs["schedule_id"],
        )
        return self.get_queryset().filter(schedule=schedule)


class Runs(_Runs):
    filterset_class = RunFilter
    ordering_fields = ("scheduled_for", "started_at", "completed_at")
    lists = True

    def get(self, request: Request, schedule_id: Any) -> Response:
        return self.listed(self.of_schedule())


class RunsAsCsv(_Runs):
    filterset_class = RunFilter
    calls_out = True

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Take any Accept header: the answer is CSV, and errors are JSON all the same."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request, schedule_id: Any) -> StreamingHttpResponse:
        """All runs, newest first, as CSV; cells that a spreadsheet takes for formulas are text."""
        with self.acting():
            asked = self.filter_queryset(self.of_schedule())
        return run_lines.response(self._read(asked))

    def _read(self, asked: Any) -> Iterator[Run]:
        # Opened when the answer is sent, which is after this view has returned.
        with self.acting():
            yield from asked.iterator(chunk_size=500)


class OneRun(_Runs):
    def get(self, request: Request, schedule_id: Any, run_id: Any) -> Response:
        return self.shown(self.found(self.of_schedule(), pk=run_id))


class CancelRun(_Runs):
    @extend_schema(request=None)
    def post(self, request: Request, schedule_id: Any, run_id: Any) -> Response:
        run = self.found(self.of_schedule(), pk=run_id)
        if not runs.cancel(run, now=self.now):
            raise Conflict("This run has ended already.")
        audit.record(self.actor, "run.cancelled", run)
        run.refresh_from_db()
        return self.shown(run)


class CompareRuns(ApiView):
    queryset = Run.objects.all()
    serializer_class = CompareSerializer
    write_scope = Scope.READ
    write_role = Role.VIEWER

    @extend_schema(responses={200: ComparisonSerializer})
    def post(self, request: Request) -> Response:
        """Compare any two runs or batches by the rules of the candidate's schedule."""
        given, project_id = self.given(), self.actor.project.pk
        baseline, candidate = (
            comparisons.find(project_id, given[side], field=side)
            for side in ("baseline", "candidate")
        )
        return Response(comparisons.report(baseline, candidate))
