"""Ordinary class-based views. The telephone comes in through the templates: {% click_to_call %}, {% call_history %}."""

from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.db.models import Count, Prefetch, Q, QuerySet, Sum
from django.forms import BaseInlineFormSet
from django.http import HttpResponse
from django.views.generic import CreateView, DetailView, ListView, TemplateView, UpdateView

from cti_django.models import CallRecord

from .forms import CompanyForm, ContactForm, ContactPhoneFormSet, DealForm
from .models import Company, Contact, Deal


class CrmListView(PermissionRequiredMixin, ListView):
    """A list that ?q= narrows down, over the fields in `search_fields`."""

    paginate_by = 25
    search_fields: tuple[str, ...] = ()

    def get_permission_required(self) -> list[str]:
        return [f"crm.view_{self.model._meta.model_name}"]

    def get_queryset(self) -> QuerySet:
        queryset = super().get_queryset()
        for word in self.query.split()[:6]:
            found = Q()
            for field in self.search_fields:
                found |= Q(**{f"{field}__icontains": word})
            queryset = queryset.filter(found)
        return queryset

    @property
    def query(self) -> str:
        return self.request.GET.get("q", "").strip()[:100]

    def get_context_data(self, **kwargs: object) -> dict:
        return super().get_context_data(query=self.query, **kwargs)


class CrmEditMixin(PermissionRequiredMixin):
    template_name = "crm/form.html"

    def get_permission_required(self) -> list[str]:
        verb = "change" if isinstance(self, UpdateView) else "add"
        return [f"crm.{verb}_{self.model._meta.model_name}"]

    def get_context_data(self, **kwargs: object) -> dict:
        title = f"Edit {self.object}" if self.object else f"New {self.model._meta.verbose_name}"
        return super().get_context_data(title=title, **kwargs)


class DashboardView(LoginRequiredMixin, TemplateView):
    template_name = "crm/dashboard.html"

    def get_context_data(self, **kwargs: object) -> dict:
        deals = Deal.objects.filter(stage__in=Deal.OPEN_STAGES)
        return super().get_context_data(
            deals=deals.filter(owner=self.request.user).select_related("company", "contact")[:6],
            totals=deals.aggregate(count=Count("pk"), value=Sum("value")),
            contact_count=Contact.objects.count(),
            company_count=Company.objects.count(),
            # CTI: the call log is a model as any other.
            calls=CallRecord.objects.filter(agent=self.request.user).prefetch_related("contact")[:6],
            newest=Contact.objects.select_related("company").order_by("-created_at", "-pk")[:6],
            **kwargs,
        )


class ContactListView(CrmListView):
    model = Contact
    template_name = "crm/contact_list.html"
    queryset = Contact.objects.select_related("company")
    search_fields = ("first_name", "last_name", "email", "phone", "mobile", "company__name")


class ContactView(PermissionRequiredMixin, DetailView):
    permission_required = "crm.view_contact"
    template_name = "crm/contact.html"
    queryset = Contact.objects.select_related("company").prefetch_related(
        "phones", Prefetch("deals", Deal.objects.select_related("owner"))
    )


class ContactFormMixin(CrmEditMixin):
    """The contact's form together with the rows of its further numbers."""

    model = Contact
    form_class = ContactForm
    template_name = "crm/contact_form.html"

    def get_context_data(self, **kwargs: object) -> dict:
        kwargs.setdefault("phones", ContactPhoneFormSet(instance=self.object))
        return super().get_context_data(**kwargs)

    def form_valid(self, form: ContactForm) -> HttpResponse:
        phones: BaseInlineFormSet = ContactPhoneFormSet(self.request.POST, instance=form.instance)
        if not phones.is_valid():
            return self.render_to_response(self.get_context_data(form=form, phones=phones))
        response = super().form_valid(form)
        phones.save()
        return response


class ContactCreateView(ContactFormMixin, CreateView):
    def get_initial(self) -> dict:
        # CTI: the pop of an unknown caller links here with the number (see crm/cti.py).
        initial = {key: self.request.GET.get(key, "")[:80] for key in ("phone", "last_name", "company")}
        return {key: value for key, value in initial.items() if value}


class ContactEditView(ContactFormMixin, UpdateView):
    pass


class CompanyListView(CrmListView):
    model = Company
    template_name = "crm/company_list.html"
    queryset = Company.objects.annotate(contact_count=Count("contacts"))
    search_fields = ("name", "city", "country", "phone")


class CompanyView(PermissionRequiredMixin, DetailView):
    permission_required = "crm.view_company"
    model = Company
    template_name = "crm/company.html"


class CompanyCreateView(CrmEditMixin, CreateView):
    model = Company
    form_class = CompanyForm


class CompanyEditView(CrmEditMixin, UpdateView):
    model = Company
    form_class = CompanyForm


class DealListView(CrmListView):
    """The pipeline: a column for each open stage."""

    model = Deal
    template_name = "crm/deal_list.html"
    queryset = Deal.objects.filter(stage__in=Deal.OPEN_STAGES).select_related("company", "contact", "owner")
    paginate_by = None
    search_fields = ("title", "company__name", "contact__last_name")

    def get_context_data(self, **kwargs: object) -> dict:
        columns = {stage: [] for stage in Deal.OPEN_STAGES}
        for deal in self.object_list:
            columns[deal.stage].append(deal)
        pipeline = [
            {"label": stage.label, "deals": deals, "value": sum(deal.value for deal in deals)}
            for stage, deals in columns.items()
        ]
        return super().get_context_data(pipeline=pipeline, **kwargs)


class DealView(PermissionRequiredMixin, DetailView):
    permission_required = "crm.view_deal"
    template_name = "crm/deal.html"
    queryset = Deal.objects.select_related("company", "contact", "owner")


class DealCreateView(CrmEditMixin, CreateView):
    model = Deal
    form_class = DealForm

    def get_initial(self) -> dict:
        return {
            "owner": self.request.user,
            **{key: self.request.GET[key] for key in ("contact", "company") if key in self.request.GET},
        }


class DealEditView(CrmEditMixin, UpdateView):
    model = Deal
    form_class = DealForm
