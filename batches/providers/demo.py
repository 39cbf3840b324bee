"""The project's own demonstration model: OpenAI's dialect, our address, our key."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.conf import settings

from access.egress import Session
from batches.providers import failures
from batches.providers.base import Answer, Call, Embedded, Endpoint
from batches.providers.openai import OpenAI

_LABEL = b"evalsched demo endpoint"


@dataclass(frozen=True)
class Demo:
    """The provider `demo`: an endpoint needs a model's name and nothing else."""

    async def complete(self, session: Session, endpoint: Endpoint, call: Call) -> Answer:
        """Make one attempt. Raises CallFailed as `Provider.complete`."""
        own = replace(
            endpoint,
            base_url=settings.DEMO_BASE_URL,
            api_key=demo_key(settings.SECRET_KEY),
            headers={},
        )
        return await OpenAI().complete(session, own, call)

    async def embed(
        self, session: Session, endpoint: Endpoint, texts: Sequence[str], timeout_s: float
    ) -> Embedded:
        raise failures.no_embeddings("demo")


def demo_key(secret_key: str) -> str:
    """Return the key of the demo endpoint: derived, so that nobody has to store or pass it on."""
    return hmac.new(secret_key.encode(), _LABEL, hashlib.sha256).hexdigest()
