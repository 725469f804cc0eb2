from django import forms

from .models import Company, Contact, ContactPhone, Deal


class ContactForm(forms.ModelForm):
    class Meta:
        model = Contact
        fields = ["first_name", "last_name", "company", "job_title", "email", "phone", "mobile", "notes"]
        widgets = {"phone": forms.TextInput({"type": "tel"}), "mobile": forms.TextInput({"type": "tel"})}


ContactPhoneFormSet = forms.inlineformset_factory(
    Contact,
    ContactPhone,
    fields=["label", "number"],
    extra=2,
    widgets={"number": forms.TextInput({"type": "tel"})},
)


class CompanyForm(forms.ModelForm):
    class Meta:
        model = Company
        fields = ["name", "phone", "website", "city", "country", "about"]
        widgets = {"phone": forms.TextInput({"type": "tel"})}


class DealForm(forms.ModelForm):
    class Meta:
        model = Deal
        fields = ["title", "company", "contact", "owner", "stage", "value", "close_on", "notes"]
        widgets = {"close_on": forms.DateInput({"type": "date"}, format="%Y-%m-%d")}
