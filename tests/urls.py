"""The test site's pages: the admin, one page of the test CRM, and the app's own."""

from contextlib import suppress

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def person(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse(f"person {pk}")


urlpatterns = [path("admin/", admin.site.urls), path("people/<int:pk>/", person, name="person")]

with suppress(ImportError):  # while the app's pages are being written
    urlpatterns.append(path("cti/", include("cti_django.urls")))
