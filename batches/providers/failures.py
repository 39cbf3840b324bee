"""Turns a status, an error object or a broken exchange into a CallFailed. Knows no dialect."""

import re
from datetime import datetime

from access import retries
from access.egress import EgressFailed, Reason
from batches.providers.base import CallFailed, ErrorClass

# Longer ones are a day's or month's quota in disguise: waiting inside a run is pointless.
MAX_RETRY_AFTER_S = 3600.0

# Statuses that pass by themselves. Every other 3xx and 4xx would fail the same way again.
_TRANSIENT = frozenset({408, 409, 425, 429})
_RATE_LIMITED = 429
_SERVER_ERROR = 500
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation"})
_REMEDIES = {
    400: "request not accepted; check the model's name and the parameters",
    401: "key refused; check the endpoint's key",
    402: "no credit left; top up the provider's account",
    403: "not permitted; check what the endpoint's key may do",
    404: "no such model or path; check the endpoint's base_url and model",
    413: "request too large; shorten the prompts",
    422: "request not understood; check the parameters",
}
# Codes are identifiers of the provider's; anything else could quote the prompt or the key.
_CODE = re.compile(r"[a-z]{2,}(_[a-z]+){0,7}")


def from_status(
    status: int, host: str, *, code: str = "", retry_after_s: float | None = None
) -> CallFailed:
    """Return what an HTTP `status` means; `code` is the error object's code, "" where none."""
    where = f"{status} from {host}" + (f" ({code})" if code else "")
    if code in _FILTER_CODES:
        return CallFailed(ErrorClass.REFUSED, f"{where}: declined by the filter", status=status)
    if code in _QUOTA_CODES:
        return CallFailed(
            ErrorClass.INFRA,
            f"{where}: quota used up; raise it at the provider, then resume",
            status=status,
        )
    if status >= _SERVER_ERROR or status in _TRANSIENT:
        trouble = "too many requests; lower the concurrency or the endpoint's limits"
        return CallFailed(
            ErrorClass.INFRA,
            f"{where}: {trouble if status == _RATE_LIMITED else 'the server failed; try again'}",
            retryable=True,
            retry_after_s=retry_after_s,
            status=status,
        )
    remedy = _REMEDIES.get(status, "not accepted; check the endpoint's base_url")
    return CallFailed(ErrorClass.REJECTED, f"{where}: {remedy}, then run again", status=status)


def from_egress(failure: EgressFailed) -> CallFailed:
    """Return what a broken exchange means. Only a deadline is the model's own doing."""
    if failure.reason is Reason.TIMEOUT:
        return CallFailed(ErrorClass.TIMEOUT, failure.sentence)
    # An answer too large or a certificate not trusted will be so again a second later.
    final = failure.reason in {Reason.TOO_LARGE, Reason.TLS}
    return CallFailed(
        ErrorClass.INFRA,
        failure.sentence,
        retryable=not final,
        unconnected=failure.reason in {Reason.DNS, Reason.CONNECT},
    )


def no_answer(host: str, what: str, *, retryable: bool = False) -> CallFailed:
    """Return the failure for a 200 that is no answer; `what` says what came instead."""
    return CallFailed(
        ErrorClass.INFRA,
        f"{host} gave no answer: {what}; check that base_url is the root of its API",
        retryable=retryable,
    )


def no_embeddings(provider: str) -> CallFailed:
    """Return the failure of asking a dialect for vectors that has none."""
    return CallFailed(
        ErrorClass.REJECTED,
        f"The provider {provider} has no embeddings; choose an OpenAI-compatible endpoint",
    )


def error_code(error: object) -> str:
    """Return the code, or else the type, of a provider's error object, if it is an identifier."""
    if not isinstance(error, dict):
        return ""
    for key in ("code", "type"):
        value = error.get(key)
        if isinstance(value, str) and _CODE.fullmatch(value):
            return value
    return ""


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, at most MAX_RETRY_AFTER_S."""
    return retries.retry_after_s(value, now, most_s=MAX_RETRY_AFTER_S)
