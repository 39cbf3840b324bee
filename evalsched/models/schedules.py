"""When evaluations and model runs are due."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from access.isolation import owned_key
from access.models import Owned
from access.secrets import SecretField
from batches.models import ModelEndpoint
from evalsched.metrics import Metric, RegressionMethod, gated_by_default


class ScheduleKind(models.TextChoices):
    """What a schedule runs: a suite of cases, or one call whose answer is kept and not judged."""

    EVALUATION = "evaluation", "Evaluation"
    MODEL_RUN = "model_run", "Model run"


class ScheduleType(models.TextChoices):
    HOURLY = "hourly", "Hourly"
    DAILY = "daily", "Daily at 02:00"
    WEEKLY = "weekly", "Mondays at 02:00"
    CUSTOM = "custom", "Cron expression"


class OverlapPolicy(models.TextChoices):
    """What to do when an occurrence comes due while an earlier run is under way."""

    SKIP = "skip", "Skip the new one"
    CANCEL_PREVIOUS = "cancel_previous", "Cancel the earlier one"
    ALLOW = "allow", "Let both run"


class CatchupPolicy(models.TextChoices):
    """Which of the occurrences that an outage swallowed are run after it."""

    LATEST = "latest", "The newest"
    EARLIEST = "earliest", "The oldest"
    ALL = "all", "All of them"
    NONE = "none", "None"


class LastRunStatus(models.TextChoices):
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOST_JITTER_SECONDS = 86_400

# What a schedule is made of, where it is shown or run.
PARTS = ("suite", "endpoint", "agent__endpoint")

METHOD_CHOICES = [
    (RegressionMethod.AUTO.value, "By statistics; with fewer than 10 cases by the threshold"),
    (RegressionMethod.STATISTICAL.value, "By statistics only"),
    (RegressionMethod.THRESHOLD.value, "By the threshold only"),
]

METRIC_CHOICES = [
    (Metric.QUALITY.value, "Quality"),
    (Metric.PASS_RATE.value, "Pass rate"),
    (Metric.LATENCY.value, "Latency"),
    (Metric.TTFT.value, "Time to first token"),
    (Metric.COST.value, "Cost"),
]


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def evaluations(self) -> "ScheduleQuerySet":
        return self.filter(kind=ScheduleKind.EVALUATION)


class Schedule(Owned):
    """What is run when. `next_run_at` is when it is due; null while it is not active.

    `scheduled_for` of a run is the nominal time; `next_run_at` has the jitter in.
    """

    kind = models.CharField(
        max_length=10,
        choices=ScheduleKind,
        default=ScheduleKind.EVALUATION,
        db_default=ScheduleKind.EVALUATION,
        editable=False,
    )
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    schedule_type = models.CharField(max_length=10, choices=ScheduleType)
    cron_expression = models.CharField(max_length=200, blank=True)
    timezone = models.CharField(max_length=64, default="UTC")
    dst_gap = models.CharField(max_length=10, blank=True)
    dst_overlap = models.CharField(max_length=10, blank=True)
    # At most so late, always by the same, so that not all schedules start on the minute.
    jitter_seconds = models.PositiveIntegerField(default=0)
    # Nominal times outside [starts_at, ends_at] do not count.
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    max_runs = models.PositiveIntegerField(null=True, blank=True)
    # Scheduled runs so far, without those that were skipped or missed.
    runs_made = models.PositiveIntegerField(default=0)
    # Null: a model run.
    suite = owned_key("batches.TestSuite", null=True, related_name="schedules")
    # Who answers: an endpoint by itself, or an agent, which has one.
    endpoint = owned_key("batches.ModelEndpoint", null=True, related_name="schedules")
    agent = owned_key("batches.Agent", null=True, related_name="schedules")
    # What a model run asks, see `model_runs`.
    parameters = SecretField(db_default="")
    batch_test_config = models.JSONField(default=dict, blank=True)
    is_active = models.BooleanField(default=True)
    overlap_policy = models.CharField(
        max_length=20, choices=OverlapPolicy, default=OverlapPolicy.SKIP
    )
    catchup_policy = models.CharField(
        max_length=10, choices=CatchupPolicy, default=CatchupPolicy.LATEST
    )
    catchup_window_minutes = models.PositiveIntegerField(null=True, blank=True)
    alert_on_failure = models.BooleanField(default=True)
    alert_on_regression = models.BooleanField(default=True)
    regression_threshold_percent = models.FloatField(default=10)
    regression_method = models.CharField(
        max_length=20, choices=METHOD_CHOICES, default=RegressionMethod.AUTO.value
    )
    gated_metrics = ArrayField(
        models.CharField(max_length=20, choices=METRIC_CHOICES), default=gated_by_default
    )
    # The run that people chose to compare with; null: the last good one.
    baseline = owned_key("evalsched.Run", null=True)
    # The standard deviation of a case's difference in score, by the last comparison of equal runs.
    paired_spread = models.FloatField(null=True)
    next_run_at = models.DateTimeField(null=True, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_run_status = models.CharField(max_length=10, choices=LastRunStatus, blank=True)
    last_run_id = models.UUIDField(null=True, blank=True)
    consecutive_failures = models.PositiveIntegerField(default=0)
    paused_until = models.DateTimeField(null=True, blank=True)
    pause_reason = models.TextField(blank=True)
    # A person gave the reason; otherwise the service did.
    paused_by_hand = models.BooleanField(default=False)
    updated_at = models.DateTimeField(auto_now=True)

    suite_id: uuid.UUID | None
    endpoint_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    baseline_id: uuid.UUID | None

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            # Those of model runs are made up from the model and the times.
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(kind="evaluation"),
                name="one_schedule_of_a_name",
            ),
            models.CheckConstraint(
                condition=Q(kind=ScheduleKind.EVALUATION, suite__isnull=False, parameters="")
                | (
                    Q(kind=ScheduleKind.MODEL_RUN, suite__isnull=True)
                    & Q(schedule_type=ScheduleType.CUSTOM)
                    & ~Q(parameters="")
                ),
                name="schedule_is_of_one_kind",
            ),
            models.CheckConstraint(
                condition=Q(endpoint__isnull=False, agent__isnull=True)
                | Q(endpoint__isnull=True, agent__isnull=False, kind=ScheduleKind.EVALUATION),
                name="schedule_asks_a_model_or_an_agent",
            ),
            models.CheckConstraint(
                condition=Q(schedule_type=ScheduleType.CUSTOM) ^ Q(cron_expression=""),
                name="cron_iff_custom",
            ),
            models.CheckConstraint(
                condition=Q(is_active=True) | Q(next_run_at__isnull=True),
                name="inactive_is_never_due",
            ),
            models.CheckConstraint(
                condition=Q(
                    regression_threshold_percent__gte=0, regression_threshold_percent__lte=100
                ),
                name="threshold_is_a_percentage",
            ),
            models.CheckConstraint(
                condition=Q(jitter_seconds__lte=MOST_JITTER_SECONDS), name="jitter_within_a_day"
            ),
            models.CheckConstraint(
                condition=Q(starts_at__isnull=True)
                | Q(ends_at__isnull=True)
                | Q(ends_at__gt=F("starts_at")),
                name="ends_after_it_starts",
            ),
            models.CheckConstraint(
                condition=Q(max_runs__isnull=True) | Q(max_runs__gte=1),
                name="max_runs_at_least_one",
            ),
            models.CheckConstraint(
                condition=Q(is_active=False) | Q(paused_until__isnull=False) | Q(pause_reason=""),
                name="a_reason_only_while_paused",
            ),
            models.CheckConstraint(
                condition=Q(regression_method__in=[method.value for method in RegressionMethod]),
                name="known_regression_method",
            ),
            models.CheckConstraint(
                condition=Q(gated_metrics__contained_by=[metric.value for metric in Metric])
                & Q(gated_metrics__len__gt=0),
                name="gated_metrics_are_known",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "kind", "-created_at"], name="schedule_newest"),
            # The tick looks for due schedules, oldest first.
            models.Index(fields=["next_run_at"], condition=Q(is_active=True), name="schedule_due"),
            # The tick ends pauses.
            models.Index(
                fields=["paused_until"],
                condition=Q(paused_until__isnull=False),
                name="schedule_paused",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def model_endpoint(self) -> ModelEndpoint:
        """The endpoint that answers: its own, or its agent's."""
        found: ModelEndpoint = self.endpoint if self.agent is None else self.agent.endpoint
        return found


class ModelRunManager(models.Manager["ModelRun"]):
    def get_queryset(self) -> models.QuerySet["ModelRun"]:
        return super().get_queryset().filter(kind=ScheduleKind.MODEL_RUN)


class ModelRun(Schedule):
    """A schedule of one call. The same rows, alone."""

    objects = ModelRunManager()  # type: ignore[assignment,misc]  # narrower than the rows' own

    class Meta:
        proxy = True
        ordering = ["-created_at"]
        verbose_name = "scheduled model run"
