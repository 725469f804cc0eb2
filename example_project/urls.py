from django.conf import settings
from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.contrib.auth.mixins import LoginRequiredMixin
from django.urls import include, path
from django.views.generic import TemplateView


class PlatformView(LoginRequiredMixin, TemplateView):
    """The reference for people who write their own user interface on the Cti JavaScript API."""

    template_name = "platform.html"


login = auth_views.LoginView.as_view(redirect_authenticated_user=True, extra_context={"is_demo": settings.DEBUG})

urlpatterns = [
    path("", include("example_project.crm.urls")),
    path("cti/", include("cti_django.urls")),  # CTI: the screen pop's pages and the list of calls
    path("platform/", PlatformView.as_view(), name="platform"),
    path("accounts/login/", login, name="login"),
    path("accounts/logout/", auth_views.LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
