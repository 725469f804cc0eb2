"""The test site with a page at its root."""

from django.urls import path

from tests import urls
from tests.urls import person

urlpatterns = [path("", person, {"pk": 0}), *urls.urlpatterns]
