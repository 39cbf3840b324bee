"""The API of schedules and runs: read the request, call one domain function, answer."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access import audit
from access.api.views import ApiView
from access.errors import Conflict
from batches import endpoints, suites
from evalsched import baselines, comparisons, runs, schedules
from evalsched.filters import RunFilter, ScheduleFilter
from evalsched.models import Run, RunTrigger, Schedule
from evalsched.serializers import (
    BaselineSerializer,
    CompareSerializer,
    ComparisonSerializer,
    RunSerializer,
    ScheduleSerializer,
)


class _Schedules(ApiView):
    queryset = Schedule.objects.select_related("suite", "endpoint")
    serializer_class: Any = ScheduleSerializer

    def fields(self, schedule: Schedule | None = None) -> dict[str, Any]:
        """Return the body's fields as the domain names them, its ids looked up in the project."""
        given = self.given(schedule, partial=schedule is not None)
        project_id = self.actor.project.pk
        if "suite_id" in given:
            given["suite"] = suites.find(project_id, given.pop("suite_id"))
        if "endpoint_id" in given:
            given["endpoint"] = endpoints.find(project_id, given.pop("endpoint_id"))
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


class Baseline(_Schedules):
    @extend_schema(request=BaselineSerializer)
    def post(self, request: Request, schedule_id: Any) -> Response:
        """Choose the run that the schedule's runs are compared with; null: the last good one."""
        serializer = BaselineSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        schedule, run_id = self.found(pk=schedule_id), serializer.validated_data["run_id"]
        run = None if run_id is None else baselines.find(schedule, run_id)
        return self.shown(baselines.pin(self.actor, schedule, run))


class _Runs(ApiView):
    queryset = Run.objects.all()
    serializer_class = RunSerializer

    def of_schedule(self) -> Any:
        schedule = self.found(
            Schedule.objects.filter(project=self.actor.project), pk=self.kwargs["schedule_id"]
        )
        return self.get_queryset().filter(schedule=schedule)


class Runs(_Runs):
    filterset_class = RunFilter
    ordering_fields = ("scheduled_for", "started_at", "completed_at")
    lists = True

    def get(self, request: Request, schedule_id: Any) -> Response:
        return self.listed(self.of_schedule())


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

    @extend_schema(responses={200: ComparisonSerializer})
    def post(self, request: Request) -> Response:
        """Compare any two runs or batches by the rules of the candidate's schedule."""
        given, project_id = self.given(), self.actor.project.pk
        baseline, candidate = (
            comparisons.find(project_id, given[side], field=side)
            for side in ("baseline", "candidate")
        )
        return Response(comparisons.report(baseline, candidate))
