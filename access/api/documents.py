"""The OpenAPI document as it is answered: the same for everybody, so it is made once."""

from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request


class OpenApiDocument(SpectacularAPIView):
    """In the format that `Accept` names, whatever the query says."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        kind: Any = type(renderer)
        return HttpResponse(
            _written(kind),
            content_type=f"{renderer.media_type}; charset=utf-8",
            headers={"Cache-Control": "max-age=3600"},
        )


@cache
def _written(renderer: Any) -> str | bytes:
    """Return the document as a class of renderers writes it; that takes a second."""
    generator: Any = SchemaGenerator
    document = generator().get_schema(request=None, public=True)
    written: str | bytes = renderer().render(document, renderer_context={})
    return written
