"""Model endpoints: made, changed, found by whatever people call them, and checked."""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from yarl import URL

from access import audit, rows
from access.actors import Actor
from access.addresses import PrivateHosts
from access.egress import check_headers, check_url
from access.errors import Conflict, Invalid, Refusal
from access.secrets import Secret
from alerts.prices import Prices, listed
from batches.models import ModelEndpoint, Provider
from batches.providers import anthropic, http
from batches.providers.base import Endpoint
from batches.scoring.complaints import Complaints
from batches.users import refuse_if_asked, refuse_if_used


def create(actor: Actor, **fields: Any) -> ModelEndpoint:
    """Make an endpoint in the actor's project.

    Raises:
        Invalid: a field breaks a rule, or the name is taken.
    """
    endpoint = ModelEndpoint(project=actor.project, user=actor.user)
    _assign(endpoint, fields)
    with _explained():
        endpoint.save(force_insert=True)
    audit.record(actor, "endpoint.created", endpoint, {"fields": sorted(fields)})
    return endpoint


def change(actor: Actor, endpoint: ModelEndpoint, **fields: Any) -> ModelEndpoint:
    """Change the given fields. Another origin clears the stored credentials, whatever led to it."""
    with _explained():
        endpoint = rows.locked(endpoint)
        before = origin(endpoint.base_url)
        _assign(endpoint, fields)
        if origin(endpoint.base_url) != before:
            # Whoever may edit must not be able to send the stored key to a host of their own. A
            # provider may have an address of its own, so it is told when that has been settled.
            fields = {"api_key": "", "headers": ""} | fields
            _assign(endpoint, fields)
        endpoint.save(update_fields=[*{*fields, "base_url"}, "updated_at"])
        audit.record(actor, "endpoint.changed", endpoint, {"fields": sorted(fields)})
    return endpoint


def delete(actor: Actor, endpoint: ModelEndpoint) -> None:
    """Delete an endpoint that nobody uses, be it to answer, to judge or to embed.

    Raises:
        Conflict: with the names of those that do.
    """
    refuse_if_used(endpoint)
    refuse_if_asked(endpoint)
    audit.record(actor, "endpoint.deleted", endpoint)
    endpoint.delete()


def find(project_id: uuid.UUID, wanted: str, *, field: str = "model_id") -> ModelEndpoint:
    """Return the project's endpoint with that id, name, or unambiguous `model`.

    Raises:
        Invalid: there is none, or several answer to that model; `field` is the one to blame.
    """
    own = ModelEndpoint.objects.filter(project_id=project_id)
    try:
        by_id = own.filter(pk=uuid.UUID(wanted)).first()
    except ValueError:
        by_id = None
    found = by_id or own.filter(name=wanted).first()
    if found:
        return found
    matches = list(own.filter(model=wanted)[:2])
    if len(matches) > 1:
        raise Invalid.field(
            field, f"Several endpoints serve '{wanted}'. Give the endpoint's id or name."
        )
    if not matches:
        raise Invalid.field(
            field, f"There is no model endpoint '{wanted[:100]}' in this project. See /api/models."
        )
    return matches[0]


def connection(endpoint: ModelEndpoint) -> Endpoint:
    """Return what a provider needs to call the endpoint, its secrets in the open.

    Raises:
        UnreadableSecret: the key that encrypted them is gone.
    """
    return Endpoint(
        provider=endpoint.provider,
        base_url=endpoint.base_url,
        model=endpoint.model,
        api_key=_text(endpoint.api_key),
        headers=stored_headers(endpoint),
        parameters=endpoint.parameters,
        request_template=endpoint.request_template,
        answer_path=endpoint.answer_path,
    )


def stored_headers(endpoint: ModelEndpoint) -> dict[str, str]:
    headers: dict[str, str] = json.loads(_text(endpoint.headers) or "{}")
    return headers


def prices(endpoint: ModelEndpoint, *, at: datetime) -> Prices:
    """Return the endpoint's own prices or, where it has none, those of the maintained list."""
    own = (endpoint.price_input, endpoint.price_output, endpoint.price_cached_input)
    if any(price is not None for price in own):
        missing = "input" if endpoint.price_input is None else "output"
        return Prices(*own, unknown_because=f"The endpoint has no price for its {missing}.")
    if endpoint.provider == Provider.DEMO:
        return Prices(None, None, unknown_because="The demonstration model has no price.")
    return listed(endpoint.model, endpoint.base_url, at=at)


def private_hosts() -> PrivateHosts:
    return PrivateHosts.parse(settings.EVALSCHED_PRIVATE_HOSTS)


def origin(url: str) -> str:
    """Return scheme, host and port: who gets the credentials. An empty address stays empty."""
    try:
        return str(URL(url).origin()) if url else ""
    except ValueError:
        return url


def _text(secret: Secret | str) -> str:
    return secret.reveal() if isinstance(secret, Secret) else secret


def _assign(endpoint: ModelEndpoint, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        setattr(endpoint, name, _encoded(value) if name == "headers" else value)
    _check(endpoint)


@contextmanager
def _explained() -> Iterator[None]:
    """Open a transaction; say in words which rule of the database was broken in it."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "one_endpoint_of_a_name" in str(error):
            complaint = "An endpoint of this project has this name already."
            raise Invalid.field("name", complaint) from None
        raise Conflict("The endpoint breaks a rule of the database; nothing was saved.") from None


def _encoded(headers: Mapping[str, str] | Secret | str) -> Secret | str:
    if isinstance(headers, Secret | str):
        return headers
    try:
        check_headers(headers)
    except Refusal as refusal:
        raise Invalid.field("headers", refusal.message) from None
    return json.dumps(dict(headers)) if headers else ""


def _check(endpoint: ModelEndpoint) -> None:
    _check_template(endpoint)
    if endpoint.provider == Provider.DEMO:
        # It is served by this very service, which knows its address.
        endpoint.base_url = ""
        return
    if endpoint.provider == Provider.ANTHROPIC and not endpoint.base_url:
        endpoint.base_url = anthropic.DEFAULT_BASE_URL
    if not endpoint.base_url:
        raise Invalid.field("base_url", "Give the address of the API, like https://api.example/v1.")
    try:
        check_url(endpoint.base_url, private_hosts())
    except Refusal as refusal:
        raise Invalid.field("base_url", refusal.message) from None


def _check_template(endpoint: ModelEndpoint) -> None:
    if endpoint.provider != Provider.HTTP:
        for name in ("request_template", "answer_path"):
            if getattr(endpoint, name):
                raise Invalid.field(name, "Only endpoints of the provider http have this.")
        return
    complaints = Complaints()
    with complaints.about("request_template"):
        http.check_template(endpoint.request_template, endpoint.parameters)
    with complaints.about("answer_path"):
        http.check_path(endpoint.answer_path)
    complaints.refuse_any()
