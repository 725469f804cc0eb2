"""The app's pages; include them as ``path("cti/", include("cti_django.urls"))``."""

from django.urls import path

from . import health, views

__all__ = ["app_name", "urlpatterns"]

app_name = "cti_django"

urlpatterns = [
    path("pop/<str:call_id>/", views.pop, name="pop"),
    path("calls/", views.calls, name="calls"),
    path("calls/<str:call_id>/", views.call, name="call"),
    path("health/live/", health.live, name="live"),
    path("health/ready/", health.ready, name="ready"),
    path("metrics/", health.metrics, name="metrics"),
]
