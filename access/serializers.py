"""The API's shapes of projects, members, keys and the trail."""

from typing import Any

from rest_framework import serializers

from access.api.serializers import OwnedSerializer, StrictModelSerializer, StrictSerializer
from access.models import ApiKey, AuditEvent, Membership, Project, Role, Scope


class ProjectSerializer(StrictModelSerializer):
    user_id = serializers.UUIDField(read_only=True)
    personal = serializers.SerializerMethodField()

    class Meta:
        model = Project
        fields = ("id", "user_id", "name", "personal", "created_at", "updated_at")

    def get_personal(self, project: Project) -> bool:
        return project.personal_of_id is not None


class MemberSerializer(StrictModelSerializer):
    project_id = serializers.UUIDField(read_only=True)
    user_id = serializers.UUIDField(read_only=True)
    username = serializers.CharField(source="user.username", read_only=True)

    class Meta:
        model = Membership
        fields = ("id", "project_id", "user_id", "username", "role", "created_at", "updated_at")


class NewMemberSerializer(StrictSerializer):
    username = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(choices=Role.choices, default=Role.EDITOR)
    shown_only = MemberSerializer.Meta.fields


class ApiKeySerializer(StrictModelSerializer):
    project_id = serializers.UUIDField(read_only=True)
    user_id = serializers.UUIDField(read_only=True)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.choices), min_length=1, max_length=3
    )

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "id",
            "project_id",
            "user_id",
            "name",
            "prefix",
            "scopes",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "created_at",
        )
        read_only_fields = ("prefix", "revoked_at", "last_used_at")


class NewApiKeySerializer(ApiKeySerializer):
    key = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(ApiKeySerializer.Meta):
        fields = (*ApiKeySerializer.Meta.fields, "key")


class MemberOfSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="project.id")
    name = serializers.CharField(source="project.name")
    role = serializers.ChoiceField(choices=Role.choices)


class MeSerializer(serializers.Serializer[Any]):
    user_id = serializers.UUIDField()
    username = serializers.CharField()
    email = serializers.CharField(allow_blank=True)
    project_id = serializers.UUIDField(help_text="The project this request acts in.")
    role = serializers.ChoiceField(choices=Role.choices)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices))
    projects = MemberOfSerializer(many=True)


class AuditEventSerializer(OwnedSerializer):
    class Meta:
        model = AuditEvent
        fields = (
            *OwnedSerializer.Meta.fields,
            "via",
            "action",
            "object_type",
            "object_id",
            "object_name",
            "details",
            "correlation_id",
        )
        read_only_fields = fields
