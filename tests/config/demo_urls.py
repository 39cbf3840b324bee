"""The demonstration model alone, for tests that serve nothing else."""

from django.urls import include, path

urlpatterns = [path("demo/", include("config.demo.urls"))]
