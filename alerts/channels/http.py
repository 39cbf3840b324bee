"""One POST through the guarded client, for callers without a running loop."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings

from access import egress, retries
from access.addresses import PrivateHosts
from access.egress import EgressFailed, EgressRefused, Reason
from alerts.channels import results
from alerts.channels.results import MOST_RETRY_AFTER, Result
from alerts.models import AttemptOutcome

# Source: Standard Webhooks recommends 15 to 30 s.
TIMEOUT_S = 20.0


def private_hosts() -> PrivateHosts:
    return PrivateHosts.parse(settings.EVALSCHED_PRIVATE_HOSTS)


def post(url: str, body: bytes, headers: Mapping[str, str], *, now: datetime) -> Result:
    """Send `body` as JSON and say what came of it. Open no transaction around it.

    The receiver's body is not read: nothing depends on it. Redirects are failures.
    """
    try:
        return asyncio.run(_post(url, body, headers, now))
    except EgressRefused as refusal:
        return Result(AttemptOutcome.BLOCKED, refusal.message)
    except EgressFailed as failure:
        late = failure.reason is Reason.TIMEOUT
        outcome = AttemptOutcome.TIMEOUT if late else AttemptOutcome.NETWORK
        return Result(outcome, failure.sentence)


async def _post(url: str, body: bytes, headers: Mapping[str, str], now: datetime) -> Result:
    headers = {"Content-Type": "application/json", **headers}
    async with (
        egress.session(private=private_hosts(), limit=1) as session,
        session.post(url, data=body, headers=headers, timeout_s=TIMEOUT_S) as response,
    ):
        asked = retries.retry_after_s(
            response.headers.get("Retry-After"), now, most_s=MOST_RETRY_AFTER.total_seconds()
        )
        return results.of_status(
            response.status,
            response.host,
            retry_after=None if asked is None else timedelta(seconds=asked),
        )
