"""When it runs, and did it get worse."""

from evalsched.models.runs import (
    ONE_BY_ONE,
    RUN_FINISHED,
    RUN_OPEN,
    Execution,
    Run,
    RunStatus,
    RunTrigger,
)
from evalsched.models.schedules import (
    METHOD_CHOICES,
    METRIC_CHOICES,
    MOST_JITTER_SECONDS,
    PARTS,
    CatchupPolicy,
    LastRunStatus,
    ModelRun,
    OverlapPolicy,
    Schedule,
    ScheduleKind,
    ScheduleType,
)

__all__ = [
    "METHOD_CHOICES",
    "METRIC_CHOICES",
    "MOST_JITTER_SECONDS",
    "ONE_BY_ONE",
    "PARTS",
    "RUN_FINISHED",
    "RUN_OPEN",
    "CatchupPolicy",
    "Execution",
    "LastRunStatus",
    "ModelRun",
    "OverlapPolicy",
    "Run",
    "RunStatus",
    "RunTrigger",
    "Schedule",
    "ScheduleKind",
    "ScheduleType",
]
