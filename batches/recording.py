"""Jobs as traces: what alert rules see of batches."""

from collections.abc import Collection
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, transaction

from alerts import traces
from alerts.trace_models import TraceSource, TraceStatus
from alerts.traces import Span
from batches.models import Batch, Job, ModelEndpoint

logger = structlog.get_logger(__name__)
# The model did answer, if only to decline.
_ANSWERED = frozenset({"", "refused"})


def record(batch: Batch, job_ids: Collection[int], *, now: datetime) -> None:
    """Store a span for each of the jobs, which have just been done; a batch is one trace.

    Call it in the transaction of their results. What goes wrong is logged, and loses no result.
    """
    endpoint = _endpoint(batch)
    model = endpoint.model if endpoint else batch.model_name
    provider = endpoint.provider if endpoint else ""
    done = Job.objects.filter(pk__in=job_ids).order_by("pk").defer("output", "assertions")
    spans = [_span(batch, job, model, provider, now) for job in done]
    try:
        with transaction.atomic():
            traces.store(
                batch.project_id, batch.user_id, spans, now=now, source=TraceSource.EVALUATION
            )
    except DatabaseError as error:
        logger.warning("jobs not recorded as traces", batch=str(batch.pk), error=str(error))


def _endpoint(batch: Batch) -> ModelEndpoint | None:
    if batch.endpoint_id is None:
        return None
    return ModelEndpoint.objects.filter(pk=batch.endpoint_id).only("model", "provider").first()


def _span(batch: Batch, job: Job, model: str, provider: str, now: datetime) -> Span:
    latency_ms = (job.wall_ms or 0.0) if job.latency_ms is None else job.latency_ms
    tokens = [n for n in (job.input_tokens, job.output_tokens) if n is not None]
    answered = job.error_class in _ANSWERED
    return Span(
        trace_id=batch.pk.hex,
        # A job that is run again is another call.
        span_id=f"{job.pk:x}-{job.claim_no}",
        parent_span_id="",
        span_name=job.case_key,
        operation="chat",
        model=model,
        model_requested="",
        provider=provider,
        status=TraceStatus.SUCCESS if answered else TraceStatus.ERROR,
        error_type="" if answered else job.error_class,
        latency_ms=latency_ms,
        ttft_ms=job.ttft_ms,
        input_tokens=job.input_tokens,
        cached_tokens=job.cached_tokens,
        output_tokens=job.output_tokens,
        total_tokens=sum(tokens) if tokens else None,
        cost=job.cost,
        cost_source="" if job.cost is None else "endpoint",
        started_at=now - timedelta(milliseconds=latency_ms),
        ended_at=now,
        attributes={
            "batch_id": str(batch.pk),
            "job_id": job.pk,
            "outcome": job.outcome,
            "score": job.score,
        },
    )
