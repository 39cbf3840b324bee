"""The base of every serializer: unknown fields are refused, read-only ones in a body ignored."""

from typing import Any, ClassVar

from rest_framework import serializers

from access.models import Owned


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know, by name."""

    # What the API shows of the same object and nobody can write: ignored, like read-only fields.
    shown_only: ClassVar[tuple[str, ...]] = ()

    def to_internal_value(self, data: Any) -> Any:
        unknown = (
            {
                str(name)[:100]: ["There is no such field."]
                for name in data
                if name not in self.fields and name not in self.shown_only
            }
            if isinstance(data, dict)
            else {}
        )
        try:
            valid = super().to_internal_value(data)
        except serializers.ValidationError as error:
            found = error.detail if isinstance(error.detail, dict) else {}
            raise serializers.ValidationError({**found, **unknown} or error.detail) from None
        if unknown:
            raise serializers.ValidationError(unknown)
        return valid


class StrictModelSerializer(StrictSerializer, serializers.ModelSerializer[Any]):
    """The same over a model. Uniqueness is the database's to tell; see the domain functions."""

    def get_unique_together_validators(self) -> list[Any]:
        return []


class OwnedSerializer(StrictModelSerializer):
    """What every object carries."""

    project_id = serializers.UUIDField(read_only=True)
    user_id = serializers.UUIDField(read_only=True)

    class Meta:
        model = Owned
        fields: tuple[str, ...] = ("id", "project_id", "user_id", "created_at")
        read_only_fields: tuple[str, ...] = ("id", "created_at")
