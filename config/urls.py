"""Every address of the service."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularSwaggerView

from access import login_pages
from access.api.documents import OpenApiDocument
from alerts.otlp_views import OtlpTraces
from alerts.pages import Acknowledge
from config import health, metrics

# What answers without credentials; a test holds every other route to asking for them.
OPEN = (
    path("healthz", health.alive, name="alive"),
    path("readyz", health.ready, name="ready"),
    path("api/cron/scheduled-evaluations/health", health.scheduler, name="scheduler"),
    # Closed unless EVALSCHED_METRICS_TOKEN is set, and then it asks for that.
    path("metrics", metrics.metrics, name="metrics"),
    path("api/schema", OpenApiDocument.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
)

urlpatterns = [
    *OPEN,
    path("api/", include("access.urls")),
    path("api/", include("alerts.urls")),
    path("api/", include("batches.urls")),
    path("api/", include("evalsched.urls")),
    path("v1/traces", OtlpTraces.as_view()),
    path("admin/", admin.site.urls),
    path("", login_pages.home, name="home"),
    *login_pages.ROUTES,
    path("alerts/<uuid:alert_id>/acknowledge", Acknowledge.as_view(), name="acknowledge"),
    path("", include("evalsched.pages.urls")),
]
if settings.EVALSCHED_DEMO:
    urlpatterns.insert(0, path("demo/", include("config.demo.urls")))

handler400 = "access.api.failures.bad_request"
handler403 = "access.api.failures.permission_denied"
handler404 = "access.api.failures.not_found"
handler500 = "access.api.failures.server_error"
