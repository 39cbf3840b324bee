"""The API's shapes of channels, preferences and notifications."""

from typing import Any

from rest_framework import serializers

from access.api.serializers import OwnedSerializer, StrictSerializer
from alerts.models import (
    Attempt,
    AttemptOutcome,
    Channel,
    ChannelKind,
    Notification,
    NotificationStatus,
)
from alerts.preferences import CHOOSABLE

_OWNED = OwnedSerializer.Meta.fields
_TYPES = [(kind.value, kind.label) for kind in CHOOSABLE]


class ChannelSerializer(OwnedSerializer):
    kind = serializers.ChoiceField(choices=ChannelKind.choices)
    configuration = serializers.DictField(
        child=serializers.CharField(max_length=2048),
        help_text="`{address}` of a mail, else `{url}`. Of Slack's only the host is shown.",
    )

    class Meta:
        model = Channel
        fields: tuple[str, ...] = (
            *_OWNED,
            "kind",
            "name",
            "configuration",
            "enabled",
            "disabled_reason",
            "previous_secret_expires_at",
            "updated_at",
        )
        read_only_fields = ("disabled_reason", "previous_secret_expires_at")


class NewChannelSerializer(ChannelSerializer):
    secret = serializers.CharField(
        read_only=True, help_text="Verifies a webhook's signatures; shown this once."
    )

    class Meta(ChannelSerializer.Meta):
        fields = (*ChannelSerializer.Meta.fields, "secret")


class TriedSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    sentence = serializers.CharField()
    outcome = serializers.ChoiceField(choices=AttemptOutcome.choices)
    notification_id = serializers.UUIDField()


class PreferenceSerializer(StrictSerializer):
    alert_type = serializers.ChoiceField(choices=_TYPES)
    channel = serializers.ChoiceField(choices=ChannelKind.choices)
    enabled = serializers.BooleanField()
    chosen = serializers.BooleanField(
        read_only=True, help_text="Whether you said so; otherwise it is the default."
    )


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    class Meta:
        model = Attempt
        fields = (
            "number",
            "outcome",
            "status_code",
            "error_message",
            "started_at",
            "duration_ms",
        )


class NotificationSerializer(OwnedSerializer):
    event_id = serializers.UUIDField(read_only=True)
    alert_type = serializers.CharField(source="event.alert_type", read_only=True)
    subject = serializers.CharField(source="event.subject", read_only=True)
    channel_id = serializers.UUIDField(read_only=True, allow_null=True)
    channel_name = serializers.CharField(source="channel.name", read_only=True, allow_null=True)
    status = serializers.ChoiceField(choices=NotificationStatus.choices, read_only=True)
    next_attempt_at = serializers.SerializerMethodField()
    attempts = AttemptSerializer(source="history", many=True, read_only=True)

    class Meta:
        model = Notification
        fields = (
            *_OWNED,
            "event_id",
            "alert_type",
            "subject",
            "channel_id",
            "channel_name",
            "kind",
            "address",
            "status",
            "sent_at",
            "next_attempt_at",
            "error_message",
            "attempts",
            "updated_at",
        )
        read_only_fields = fields

    def get_next_attempt_at(self, notification: Notification) -> Any:
        waits = notification.status == NotificationStatus.PENDING
        return notification.not_before if waits else None
