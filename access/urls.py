from django.urls import path

from access import views

urlpatterns = [
    path("me", views.Me.as_view()),
    path("projects", views.Projects.as_view()),
    path("projects/<uuid:project_id>", views.OneProject.as_view()),
    path("projects/<uuid:project_id>/members", views.Members.as_view()),
    path("projects/<uuid:project_id>/members/<uuid:member_id>", views.OneMember.as_view()),
    path("keys", views.Keys.as_view()),
    path("keys/<uuid:key_id>", views.OneKey.as_view()),
    path("audit", views.Audit.as_view()),
]
