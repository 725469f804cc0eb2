from django.contrib import admin

from cti_django.admin_mixins import CTIAdminMixin

from .models import Company, Contact, ContactPhone, Deal


class ContactPhoneInline(admin.TabularInline):
    model = ContactPhone
    extra = 1


# CTI: the mixin and one line make numbers clickable and show a record's calls below its form.
@admin.register(Contact)
class ContactAdmin(CTIAdminMixin, admin.ModelAdmin):
    list_display = ["__str__", "company", "phone", "mobile"]
    list_select_related = ["company"]
    search_fields = ["first_name", "last_name", "email", "phone", "mobile"]
    autocomplete_fields = ["company"]
    inlines = [ContactPhoneInline]
    cti_number_fields = ["phone", "mobile"]


@admin.register(Company)
class CompanyAdmin(CTIAdminMixin, admin.ModelAdmin):
    list_display = ["name", "city", "phone"]
    search_fields = ["name", "city"]
    cti_number_fields = ["phone"]


@admin.register(Deal)
class DealAdmin(admin.ModelAdmin):
    list_display = ["title", "company", "stage", "value", "owner", "close_on"]
    list_filter = ["stage", "owner"]
    list_select_related = ["company", "owner"]
    autocomplete_fields = ["company", "contact"]
