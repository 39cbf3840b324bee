"""Prometheus metrics, read from PostgreSQL and Redis when asked: processes count nothing."""

import hmac
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from access import clock
from access.admin.lists import first_id
from alerts import evaluations
from alerts.models import Alert, Attempt, Notification
from alerts.rule_models import AlertStatus
from batches import cleanup
from batches.models import Batch, Job, JobStatus
from config import queues
from evalsched import invariants, pulse
from evalsched.models import Execution, Run, Schedule

_DAY = timedelta(days=1)


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with EVALSCHED_METRICS_TOKEN as bearer only; closed (404) while that is unset."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    expected = settings.EVALSCHED_METRICS_TOKEN
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        raise Http404
    registry = CollectorRegistry()
    registry.register(_Service(clock.database_now()))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Service(Collector):
    """The state of the service at one moment."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield from self._pulse()
        yield from self._counts()
        yield from self._deliveries()
        took = evaluations.took()
        yield GaugeMetricFamily(
            "evalsched_rule_evaluation_seconds",
            "How long the newest minute's evaluation of all alert rules took.",
            took.total_seconds() if took else None,
        )
        firing = Alert.objects.filter(status=AlertStatus.FIRING)
        yield GaugeMetricFamily("evalsched_alerts_firing", "Open alerts.", firing.count())
        yield _family(
            "invariant_broken", "0 when all is well.", "invariant", invariants.last_counts()
        )
        yield _family("queue_messages", "Hints in the broker.", "queue", queues.lengths())
        yield _family("table_bytes", "Size with indexes.", "table", invariants.table_bytes())

    def _pulse(self) -> Iterator[Metric]:
        measured = vars(pulse.taken(self._now))
        for name, value in measured.items():
            if isinstance(value, int | float):
                yield GaugeMetricFamily(f"evalsched_{name}", "See the health answer.", value)

    def _deliveries(self) -> Iterator[Metric]:
        """Give the attempts by outcome, and the share of what has ended that was sent."""
        since = first_id(self._now - _DAY)
        attempts = GaugeMetricFamily(
            "evalsched_delivery_attempts_24h",
            "Of the last 24 hours.",
            labels=["channel", "outcome"],
        )
        made = Attempt.objects.filter(id__gte=since).order_by()
        counted = made.values_list("notification__kind", "outcome").annotate(Count("pk"))
        for kind, outcome, count in counted:
            attempts.add_metric([kind, outcome], count)
        yield attempts
        ended = _by_status(Notification.objects.filter(id__gte=since))
        sent, failed = (ended.get(status, 0) for status in ("sent", "failed"))
        yield GaugeMetricFamily(
            "evalsched_delivery_success_ratio",
            "Sent of those that have ended, of the notifications of the last 24 hours.",
            sent / (sent + failed) if sent + failed else None,
        )

    def _counts(self) -> Iterator[Metric]:
        since, first = self._now - _DAY, first_id(self._now - _DAY)
        active = Schedule.objects.evaluations().filter(is_active=True)
        yield GaugeMetricFamily("evalsched_schedules_active", "Active schedules.", active.count())
        yield GaugeMetricFamily(
            "evalsched_schedules_failing",
            "Active schedules whose last scheduled run failed.",
            active.filter(consecutive_failures__gt=0).count(),
        )
        yield GaugeMetricFamily(
            "evalsched_experiments_expired",
            "Batches of experiments that have expired and are not cleaned up yet.",
            cleanup.expired(self._now),
        )
        open_jobs = Job.objects.filter(status__in=[JobStatus.PENDING, JobStatus.RUNNING])
        yield _family("jobs_open", "Calls to make.", "status", _by_status(open_jobs))
        for name, rows in (
            ("runs_24h", Run.objects.evaluations().filter(triggered_at__gt=since)),
            ("model_runs_24h", Execution.objects.filter(triggered_at__gt=since)),
            ("batches_24h", Batch.objects.evaluations().filter(id__gte=first)),
            ("notifications_24h", Notification.objects.filter(id__gte=first)),
        ):
            yield _family(name, "Of the last 24 hours.", "status", _by_status(rows))


def _by_status(rows: QuerySet[Any]) -> dict[str, int]:
    return dict(rows.order_by().values_list("status").annotate(Count("pk")))


def _family(name: str, help_: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"evalsched_{name}", help_, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
