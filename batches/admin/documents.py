"""Documents: where they come from, whether they could be fetched, and when they go."""

from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import audit, clock, projects
from access.admin import words
from access.admin.base import (
    Button,
    DomainAdmin,
    Said,
    actor_in,
    instant,
    only_changed,
    operator,
)
from access.admin.lists import LongList
from batches import batches, documents
from batches.admin.agents import OriginFilter, expires, origin
from batches.documents import Draft
from batches.forms.experiments import DocumentForm
from batches.models import Document, DocumentStatus

_TONES: dict[str, words.Tone] = {
    DocumentStatus.READY: "success",
    DocumentStatus.WAITING: "info",
    DocumentStatus.FETCHING: "info",
    DocumentStatus.FAILED: "danger",
}


def _failed(document: Document) -> bool:
    return document.status == DocumentStatus.FAILED


@admin.register(Document)
class DocumentAdmin(LongList, DomainAdmin):
    form = DocumentForm
    empty_text = (
        "A document is a text that a model is asked about. Paste one or give its address, or "
        "create an experiment, which brings its own along."
    )
    list_display = ("title", "state", "source", "origin", "expires", "project", "row_buttons")
    list_select_related = ("project", "ephemeral_batch")
    list_filter = (OriginFilter, "status", "project")
    search_fields = ("title", "=ephemeral_batch__tracking_id")
    search_help_text = "A title, or an experiment's tracking id"
    buttons = (Button("fetch_again", "Fetch again", "refresh", when=_failed),)
    readonly_fields: ClassVar = ("state", "source", "fetched", "origin", "expires", "text")
    fetched = instant("fetched_at", "Fetched")
    origin, expires = origin, expires

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        found: QuerySet[Document] = super().get_queryset(request)
        match = request.resolver_match
        listed = match is not None and (match.url_name or "").endswith("_changelist")
        return found.defer("content") if listed else found

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("project", "title", "content", "source_url")
        shown = ("state", *(("source", "fetched") if obj.source_url else ()), "origin")
        if _writable(obj):
            return ("title", "content", *shown)
        return ("title", "text", *shown, "expires", "content_hash")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (obj is None or _writable(obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and (obj is None or obj.ephemeral_batch_id is None)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk}

    def create(self, request: HttpRequest, form: Any) -> Document:
        values = form.cleaned_data
        draft = Draft(
            title=values["title"],
            content=values["content"].replace("\r\n", "\n"),
            url=values["source_url"],
        )
        return documents.create(actor_in(request, values["project"]), draft)

    def change(self, request: HttpRequest, row: Any, form: Any) -> Document:
        fields = only_changed(form, ("title", "content"))
        return documents.change(actor_in(request, row.project), row, **fields)

    def delete(self, request: HttpRequest, row: Any) -> None:
        documents.delete(actor_in(request, row.project), row)

    def fetch_again(self, request: HttpRequest, document: Document) -> Said:
        """Fetch it once more; of an experiment the whole batch goes on, and asks about it then."""
        actor, batch = actor_in(request, document.project), document.ephemeral_batch
        if batch is None:
            documents.retry(actor, document)
            return Said(f"{document} is fetched again. Reload the page in a moment.")
        batches.resume(batch, now=clock.database_now())
        audit.record(actor, "batch.resumed", batch)
        return Said(f"{batch.tracking_id} goes on with what it could not fetch.")

    @admin.display(description="Status")
    def state(self, row: Document) -> SafeString:
        label = words.label(row.status, _TONES[row.status], title=row.error_message)
        if not row.error_message:
            return label
        return format_html('{}<br><small class="es-small">{}</small>', label, row.error_message)

    @admin.display(description="Source")
    def source(self, row: Document) -> SafeString | str:
        if not row.source_url.startswith(("http://", "https://")):
            return "typed in"
        return format_html(
            '<a class="es-link es-clip" rel="noreferrer" href="{0}" title="{0}">{1}</a>',
            row.source_url,
            # Until it is fetched its title is the address.
            urlsplit(row.source_url).netloc if row.title == row.source_url else row.source_url,
        )

    @admin.display(description="Text")
    def text(self, row: Document) -> SafeString | str:
        return words.block(row.content)


def _writable(row: Document) -> bool:
    return row.ephemeral_batch_id is None and row.status == DocumentStatus.READY
