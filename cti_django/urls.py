"""The app's pages; include them as ``path("cti/", include("cti_django.urls"))``."""

from django.urls import path, re_path

from . import health, views, webhooks

__all__ = ["app_name", "urlpatterns"]

app_name = "cti_django"

urlpatterns = [
    path("pop/<str:call_id>/", views.pop, name="pop"),
    path("calls/", views.calls, name="calls"),
    path("calls/<str:call_id>/", views.call, name="call"),
    path("health/live/", health.live, name="live"),
    path("health/ready/", health.ready, name="ready"),
    path("metrics/", health.metrics, name="metrics"),
    # Whatever follows: a redirect would lose the POST, and the log line of a page that is not found shows a token.
    re_path(r"^webhook/(?P<endpoint>[^/]*)(?:/(?P<token>[\s\S]*?))?/?\Z", webhooks.receive, name="webhook"),
]
