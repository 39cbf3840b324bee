"""What is asked: suites of cases, in versions."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from access.isolation import owned_key
from access.models import Owned


class TestSuite(Owned):
    """A versioned set of cases. `content_hash` is over the current cases, in their order."""

    __test__ = False  # not pytest's

    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    version = models.PositiveIntegerField(default=0)
    content_hash = models.CharField(max_length=64, blank=True)
    case_count = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_suite_of_a_name")
        ]

    def __str__(self) -> str:
        return self.name


class TestCaseQuerySet(models.QuerySet["TestCase"]):
    def current(self) -> "TestCaseQuerySet":
        return self.filter(removed_in__isnull=True)

    def of_version(self, version: int) -> "TestCaseQuerySet":
        """The cases of one version of a suite: made by then and not yet removed."""
        return self.filter(added_in__lte=version).filter(
            Q(removed_in__isnull=True) | Q(removed_in__gt=version)
        )


class TestCase(Owned):
    """One immutable case. An edit removes the row in the next version and adds another."""

    __test__ = False

    suite = owned_key("batches.TestSuite", related_name="cases")
    key = models.CharField(max_length=128)
    position = models.PositiveIntegerField()
    content_hash = models.CharField(max_length=64)
    added_in = models.PositiveIntegerField()
    removed_in = models.PositiveIntegerField(null=True)
    prompt = models.TextField(null=True, blank=True)  # noqa: DJ001  a case has messages instead
    messages = models.JSONField(null=True, blank=True)
    variables = models.JSONField(default=dict, blank=True)
    expected = models.JSONField(null=True, blank=True)
    assertions = models.JSONField(default=list, blank=True)
    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    weight = models.FloatField(default=1)
    threshold = models.FloatField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = TestCaseQuerySet.as_manager()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["suite", "key"],
                condition=Q(removed_in__isnull=True),
                name="one_current_case_of_a_key",
            ),
            models.CheckConstraint(
                condition=Q(removed_in__isnull=True) | Q(removed_in__gt=F("added_in")),
                name="case_removed_after_it_was_added",
            ),
            models.CheckConstraint(
                condition=Q(prompt__isnull=True) ^ Q(messages__isnull=True),
                name="prompt_or_messages",
            ),
            models.CheckConstraint(condition=Q(weight__gt=0), name="case_weight_positive"),
        ]
        indexes = [models.Index(fields=["suite", "position"], name="case_in_order")]

    def __str__(self) -> str:
        return self.key
