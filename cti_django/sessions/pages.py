"""Where the app's own pages are, for whoever runs a session: a consumer's process, or one without any pages."""

from django.urls import NoReverseMatch, reverse

__all__ = ["pop_path"]


def pop_path(call_id: str) -> str:
    """The path of the page that pops for a call; "" if the project has not included ``cti_django.urls``: cards only."""
    try:
        return reverse("cti_django:pop", args=[call_id])
    except NoReverseMatch:
        return ""
