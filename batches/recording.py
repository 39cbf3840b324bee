"""Jobs as traces: what alert rules see of batches."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, transaction

from alerts import traces
from alerts.trace_models import TraceSource, TraceStatus
from alerts.traces import Span
from batches.models import Batch, ModelEndpoint
from batches.results import Result

logger = structlog.get_logger(__name__)
# The model did answer, if only to decline.
_ANSWERED = frozenset({"", "refused"})


def record(batch: Batch, results: Iterable[tuple[Result, str]], *, now: datetime) -> None:
    """Store a span for each result, which has just been written; a batch is one trace.

    Beside each result stands the key of its case. Call it in the transaction of the results. What
    goes wrong is logged, and loses none of them.
    """
    endpoint = _endpoint(batch)
    model = endpoint.model if endpoint else batch.model_name
    provider = endpoint.provider if endpoint else ""
    spans = [
        _span(batch, result, case_key=key, model=model, provider=provider, now=now)
        for result, key in results
    ]
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


def _span(
    batch: Batch, result: Result, *, case_key: str, model: str, provider: str, now: datetime
) -> Span:
    latency_ms = result.wall_ms if result.latency_ms is None else result.latency_ms
    tokens = [n for n in (result.input_tokens, result.output_tokens) if n is not None]
    answered = result.error_class in _ANSWERED
    return Span(
        trace_id=batch.pk.hex,
        # A job that is run again is another call.
        span_id=f"{result.claim.job_id:x}-{result.claim.claim_no}",
        parent_span_id="",
        span_name=case_key,
        operation="chat",
        model=model,
        model_requested="",
        provider=provider,
        status=TraceStatus.SUCCESS if answered else TraceStatus.ERROR,
        error_type="" if answered else result.error_class,
        latency_ms=latency_ms,
        ttft_ms=result.ttft_ms,
        input_tokens=result.input_tokens,
        cached_tokens=result.cached_tokens,
        output_tokens=result.output_tokens,
        total_tokens=sum(tokens) if tokens else None,
        cost=result.cost,
        cost_source="" if result.cost is None else "endpoint",
        started_at=now - timedelta(milliseconds=latency_ms),
        ended_at=now,
        attributes={
            "batch_id": str(batch.pk),
            "job_id": result.claim.job_id,
            "outcome": result.outcome,
            "score": result.score,
        },
    )
