"""What remains of experiments that were cleaned up or deleted."""

from django.contrib import admin

from access.admin import words
from access.admin.base import ReadOnlyAdmin, instant
from access.admin.lists import LongList, MadeFilter
from batches.models import Tombstone


@admin.register(Tombstone)
class TombstoneAdmin(LongList, ReadOnlyAdmin):
    empty_text = (
        "A tombstone is what remains of an experiment's batch: names, dates and figures, without "
        "its questions and answers. None has been cleaned up so far."
    )
    list_display = ("tracking_id", "asked", "outcome", "cost", "user", "project", "gone")
    list_select_related = ("user", "project")
    list_filter = (MadeFilter, "project")
    search_fields = ("=tracking_id",)
    search_help_text = "An experiment's tracking id"
    fields = (
        "tracking_id",
        "name",
        "asked",
        "status",
        "outcome",
        "documents",
        "cost",
        "began",
        "ended",
        "expired",
        "gone",
        "user",
        "project",
        "suite_hash",
        "content_hash",
        "batch_id",
    )
    readonly_fields = ("asked", "outcome", "cost", "began", "ended", "expired", "gone")
    began = instant("began_at", "Began")
    ended = instant("ended_at", "Ended")
    expired = instant("expired_at", "Expired")
    gone = instant("created_at", "Cleaned up")

    @admin.display(description="Asked")
    def asked(self, tombstone: Tombstone) -> str:
        whom = tombstone.agent_name or tombstone.model_name
        return f"{whom}: {tombstone.suite_name}" if tombstone.suite_name else whom

    @admin.display(description="Outcome")
    def outcome(self, tombstone: Tombstone) -> str:
        score = "" if tombstone.avg_score is None else f", score {tombstone.avg_score:.2f}"
        return f"{tombstone.passed:,} of {tombstone.total:,} passed{score}"

    @admin.display(description="Cost")
    def cost(self, tombstone: Tombstone) -> str:
        return words.money(tombstone.total_cost)
