"""What a worker holds of a job, and what came of it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from batches.models import JobOutcome


@dataclass(frozen=True)
class Claim:
    """A job that this worker may call and write, until its lease ends or another claims it."""

    job_id: int
    claim_no: int
    case_id: uuid.UUID | None
    reserved_cost: Decimal = Decimal(0)
    # It lost its workers before, so it runs alone and cannot take others along.
    suspect: bool = False
    # Instead of a case.
    document_id: uuid.UUID | None = None

    @property
    def fence(self) -> tuple[int, int]:
        """What a write must match: the job, and the number of its claim."""
        return self.job_id, self.claim_no


@dataclass(frozen=True)
class Result:
    """What came of a claimed job. Cost in USD, score 0..1; None is unknown."""

    claim: Claim
    outcome: JobOutcome
    attempts: int
    wall_ms: float
    weight: float = 1
    output: str = ""
    score: float | None = None
    assertions: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    latency_ms: float | None = None
    ttft_ms: float | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    prices: Mapping[str, str | None] | None = None
    cost_unknown_because: str = ""
    judge_cost: Decimal | None = None
    # A judge worked for an unknown price.
    judge_unpriced: bool = False
    # Why a judge did not answer, "" where all did, None where nobody was asked.
    judge_failure: str | None = None
    error_class: str = ""
    error_message: str = ""

    @property
    def unpriced(self) -> bool:
        """Whether the model worked for an unknown price: a budget counts what was set aside."""
        return self.cost is None and self.error_class not in {"infra", "rejected"}

    @property
    def unknown_judge_cost(self) -> Decimal | None:
        """What a budget counts for judges of an unknown price: the rest of what was set aside."""
        if not self.judge_unpriced or self.cost is None:
            return None
        known = self.cost + (self.judge_cost or Decimal(0))
        return max(self.claim.reserved_cost - known, Decimal(0))
