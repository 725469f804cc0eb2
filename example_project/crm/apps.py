from django.apps import AppConfig


class CrmConfig(AppConfig):
    name = "example_project.crm"
    verbose_name = "CRM"
