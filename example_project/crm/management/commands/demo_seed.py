"""``manage.py demo_seed``: fills the CRM with the made-up people of demo_data, and gives the agents their lines."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from cti_django.models import ConnectorAccount
from example_project.crm.demo_data import AGENTS, COMPANIES, DEALS, people
from example_project.crm.models import Company, Contact, ContactPhone, Deal

PASSWORD = "demo"
LINE_PASSWORD = "sandbox"

AGENT_PERMISSIONS = [
    "cti_django.use_telephone",  # CTI: whoever has this gets the call bar and a session
    *(f"crm.{verb}_{model}" for verb in ("view", "add", "change") for model in ("company", "contact", "deal")),
    *(f"crm.{verb}_contactphone" for verb in ("view", "add", "change", "delete")),
]
SUPERVISOR_PERMISSIONS = [
    "cti_django.supervise_calls",  # CTI: sees everybody's calls
    "cti_django.view_callrecord",
    "cti_django.view_agentlease",
]


class Command(BaseCommand):
    help = "Create the demo's people, companies, deals and agents. What is there already stays as it is."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        agents = self.seed_users()
        companies = self.seed_companies()
        contacts = self.seed_contacts(companies)
        self.seed_deals(companies, contacts, agents)
        self.stdout.write(
            f"{Contact.objects.count()} contacts in {Company.objects.count()} companies, "
            f"{Deal.objects.count()} deals, {ConnectorAccount.objects.count()} agents with a line."
        )

    def seed_users(self) -> dict[str, User]:
        agent_group = _group("Agents", AGENT_PERMISSIONS)
        supervisor_group = _group("Supervisors", SUPERVISOR_PERMISSIONS)
        agents = {}
        for username, first_name, last_name, line, extension in AGENTS:
            agent = _user(username, first_name, last_name, [agent_group])
            # CTI: how this agent logs in to the telephone system. The password is encrypted in the database.
            sandbox = {"username": f"{username}@example.com", "password": LINE_PASSWORD, "number": line}
            asterisk = {"username": extension, "number": extension}  # a manager account serves all agents
            here, elsewhere = (asterisk, sandbox) if settings.ASTERISK_URL else (sandbox, asterisk)
            ConnectorAccount.objects.filter(user=agent, username=elsewhere["username"]).delete()
            ConnectorAccount.objects.get_or_create(user=agent, defaults=here)
            agents[username] = agent
        _user("sam", "Sam", "Supervisor", [agent_group, supervisor_group])
        _user("admin", "Ada", "Admin", [], is_superuser=True)
        return agents

    def seed_companies(self) -> dict[str, Company]:
        companies = {}
        for name, city, country, phone, about in COMPANIES:
            companies[name], _ = Company.objects.get_or_create(
                name=name, defaults={"city": city, "country": country, "phone": phone, "about": about}
            )
        return companies

    def seed_contacts(self, companies: dict[str, Company]) -> dict[str, Contact]:
        contacts: dict[str, Contact] = {}
        for person in people():
            contact, created = Contact.objects.get_or_create(
                first_name=person.first_name,
                last_name=person.last_name,
                defaults={
                    "company": companies[person.company],
                    "job_title": person.job_title,
                    "email": person.email,
                    "phone": person.phone,
                    "mobile": person.mobile,
                    "notes": person.notes,
                },
            )
            if created:
                for label, number in person.phones.items():
                    ContactPhone.objects.create(contact=contact, label=label, number=number)
            contacts.setdefault(person.last_name, contact)
        return contacts

    def seed_deals(self, companies: dict[str, Company], contacts: dict[str, Contact], agents: dict[str, User]) -> None:
        today = timezone.localdate()
        for title, company, last_name, agent, stage, value, days in DEALS:
            contact = contacts[last_name] if last_name else companies[company].contacts.first()
            Deal.objects.get_or_create(
                title=title,
                company=companies[company],
                defaults={
                    "contact": contact,
                    "owner": agents[agent],
                    "stage": stage,
                    "value": value,
                    "close_on": today + timedelta(days=days),
                },
            )


def _group(name: str, permissions: list[str]) -> Group:
    group, _ = Group.objects.get_or_create(name=name)
    for permission in permissions:
        app_label, codename = permission.split(".")
        group.permissions.add(Permission.objects.get(content_type__app_label=app_label, codename=codename))
    return group


def _user(username: str, first_name: str, last_name: str, groups: list[Group], *, is_superuser: bool = False) -> User:
    user, created = User.objects.get_or_create(
        username=username,
        defaults={
            "first_name": first_name,
            "last_name": last_name,
            "email": f"{username}@example.com",
            "is_staff": True,  # the admin shows the call bar, too
            "is_superuser": is_superuser,
        },
    )
    if created:
        user.set_password(PASSWORD)
        user.save()
    user.groups.add(*groups)
    return user
