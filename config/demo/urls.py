"""Paths of the demonstration model, below `demo/`."""

from django.urls import path

from config.demo import endpoint

urlpatterns = [
    path("v1/chat/completions", endpoint.chat_completions),
    path("v1/models", endpoint.models),
]
