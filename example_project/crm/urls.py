from django.urls import path

from . import views

urlpatterns = [
    path("", views.DashboardView.as_view(), name="dashboard"),
    path("contacts/", views.ContactListView.as_view(), name="contacts"),
    path("contacts/new/", views.ContactCreateView.as_view(), name="contact-new"),
    path("contacts/<int:pk>/", views.ContactView.as_view(), name="contact"),
    path("contacts/<int:pk>/edit/", views.ContactEditView.as_view(), name="contact-edit"),
    path("companies/", views.CompanyListView.as_view(), name="companies"),
    path("companies/new/", views.CompanyCreateView.as_view(), name="company-new"),
    path("companies/<int:pk>/", views.CompanyView.as_view(), name="company"),
    path("companies/<int:pk>/edit/", views.CompanyEditView.as_view(), name="company-edit"),
    path("deals/", views.DealListView.as_view(), name="deals"),
    path("deals/new/", views.DealCreateView.as_view(), name="deal-new"),
    path("deals/<int:pk>/", views.DealView.as_view(), name="deal"),
    path("deals/<int:pk>/edit/", views.DealEditView.as_view(), name="deal-edit"),
]
