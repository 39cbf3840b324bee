"""What the OpenAPI document says of every operation alike: closed objects and the error shape."""

from typing import Any

from drf_spectacular.openapi import AutoSchema

_ERROR = {
    "type": "object",
    "required": ["error", "message", "status_code", "correlation_id"],
    "additionalProperties": False,
    "properties": {
        "error": {"type": "string", "description": "One of a fixed list of types."},
        "message": {"type": "string", "description": "A sentence for a person."},
        "status_code": {"type": "integer"},
        "correlation_id": {"type": "string", "description": "Also the X-Request-ID header."},
        "details": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
}
_COMMON = {
    "400": "The request breaks a rule; `details` names the fields.",
    "401": "No credentials, or unknown ones.",
    "403": "The scope or the role is too small.",
    "404": "No such object in this project.",
    "405": "This address does not take that method.",
    "406": "Only JSON is answered.",
    "409": "The object's state, or a user of it, does not allow this.",
    "413": "The body is too large.",
    "415": "The body is of a type that is not taken here; mostly only application/json is.",
    "429": "Too many requests; Retry-After says how long to wait.",
    "503": "The database or the broker is away; Retry-After says when to try again.",
}
_PROJECT_HEADER = {
    "name": "X-Project-Id",
    "in": "header",
    "required": False,
    "description": "The project to act in; without it the key's own, or the personal one.",
    "schema": {"type": "string", "format": "uuid"},
}


class Schema(AutoSchema):
    def _is_list_view(self, serializer: Any = None) -> bool:
        return self.method == "GET" and bool(getattr(self.view, "lists", False))

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix("/api/").split("/")[0].replace("-", " ")]


def finish(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Close the objects and declare the answers that any operation may give."""
    components = result.setdefault("components", {}).setdefault("schemas", {})
    for schema in components.values():
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
    components["Error"] = _ERROR
    for path in result["paths"].values():
        for operation in path.values():
            operation.setdefault("parameters", []).append(_PROJECT_HEADER)
            for status, meaning in _COMMON.items():
                operation["responses"].setdefault(status, _error_answer(meaning))
    return result


def _error_answer(meaning: str) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Error"}
    return {"description": meaning, "content": {"application/json": {"schema": reference}}}
