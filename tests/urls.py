"""The test site's pages: the admin, one page of the test CRM, and the app's own."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def person(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse(f"person {pk}")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("people/<int:pk>/", person, name="person"),
    path("cti/", include("cti_django.urls")),
]
