"""The test site with an admin that has the test CRM's people in it, and a second admin site of its own kind."""

from django.contrib import admin
from django.urls import include, path

from cti_django.admin import CallRecordAdmin
from cti_django.admin_mixins import CTIAdminMixin
from cti_django.models import CallRecord
from tests.testapp.models import Badge, Company, Person
from tests.urls import person

__all__ = ["PersonAdmin", "other_site", "site", "urlpatterns"]


class PersonAdmin(CTIAdminMixin, admin.ModelAdmin):
    list_display = ("name", "phone", "mobile")
    readonly_fields = ("mobile",)
    cti_number_fields = ("phone", "mobile")


class GroupedAdmin(CTIAdminMixin, admin.ModelAdmin):
    """Nearly everything that an admin can set, at once."""

    list_display = ("switchboard", "name", "hotline")
    readonly_fields = ("hotline",)
    fieldsets = ((None, {"fields": (("name", "switchboard"), "hotline")}),)
    cti_number_fields = ("switchboard", "hotline")

    @admin.display(description="Hotline")
    def hotline(self, company: Company) -> str:
        return company.switchboard


class BadgeAdmin(CTIAdminMixin, admin.ModelAdmin):
    cti_number_fields = ("extension",)
    change_form_template = "admin/own_change_form.html"


class OtherSite(admin.AdminSite):
    site_header = "Another admin"


site = admin.AdminSite(name="admin")
other_site = OtherSite(name="other")
for each in (site, other_site):
    each.register(Person, PersonAdmin)
    each.register(Company, GroupedAdmin)
    each.register(CallRecord, CallRecordAdmin)
other_site.register(Badge, BadgeAdmin)

urlpatterns = [
    path("admin/", site.urls),
    path("other/", other_site.urls),
    path("people/<int:pk>/", person, name="person"),
    path("cti/", include("cti_django.urls")),
]
