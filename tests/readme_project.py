"""A new Django project made of nothing but the README's lines, and what it must be able to do."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["REPOSITORY", "make_project", "probe", "python_blocks"]

REPOSITORY = Path(__file__).resolve().parent.parent

_MODELS = """
from django.db import models


class Contact(models.Model):
    name = models.CharField(max_length=80)
    phone = models.CharField(max_length=40)

    def __str__(self):
        return self.name
"""

_PROBE = """
import json

import django

django.setup()

from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import RequestFactory
from django.utils import translation

import cti_django.sandbox
from cti_django.contacts import match
from cti_django.models import ConnectorAccount, ContactNumber
from crm.models import Contact

agent = User.objects.create_user("agent")
agent.user_permissions.add(Permission.objects.get(codename="use_telephone"))
agent.user_permissions.add(Permission.objects.get(codename="view_contact"))
request = RequestFactory().get("/")
request.user = User.objects.get(pk=agent.pk)
contact = Contact.objects.create(name="Dana", phone="020 7946 0018")
with translation.override("de"):
    german = str(ConnectorAccount._meta.verbose_name)
    page = render_to_string("contact.html", {"contact": contact}, request)
print(json.dumps({
    "imported_from": cti_django.__file__,
    "page": page,
    "indexed": list(ContactNumber.objects.values_list("number", flat=True)),
    "static": [bool(finders.find(f"cti_django/{name}")) for name in ("cti-connector.js", "cti.css")],
    "german": german,
}))
"""


def python_blocks() -> dict[str, str]:
    """{file named in the sentence before it: code} for each Python block of the README."""
    readme = (REPOSITORY / "README.md").read_text()
    return dict(re.findall(r"`([\w/]+\.py)`[^`]*\n\n```python\n(.*?)```", readme, re.DOTALL))


def make_project(root: Path, python: str, environment: dict[str, str]) -> None:
    """Create the project in `root` with that Python: startproject, startapp, then the README's blocks."""
    root.mkdir()
    _run([python, "-m", "django", "startproject", "mysite", "."], root, environment)
    _run([python, "manage.py", "startapp", "crm"], root, environment)
    (root / "crm/models.py").write_text(_MODELS)
    _append(root / "mysite/settings.py", 'INSTALLED_APPS = [*INSTALLED_APPS, "crm"]\n')
    for name, code in python_blocks().items():
        _append(root / name, code)
    html = re.findall(r"```html\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    (root / "crm/templates").mkdir()
    (root / "crm/templates/contact.html").write_text("\n".join(html))
    (root / "probe.py").write_text(_PROBE)


def probe(root: Path, python: str, environment: dict[str, str]) -> dict[str, Any]:
    """Check, migrate, load the ASGI application as a server would, render a page; return what was found."""
    environment = {**environment, "DJANGO_SETTINGS_MODULE": "mysite.settings"}
    _run([python, "manage.py", "check", "--fail-level", "WARNING"], root, environment)
    _run([python, "manage.py", "makemigrations", "crm"], root, environment)
    _run([python, "manage.py", "migrate", "--verbosity", "0"], root, environment)
    _run([python, "manage.py", "cti_reindex"], root, environment)
    _run(
        [python, "-c", "from mysite.asgi import application; assert 'websocket' in application.application_mapping"],
        root,
        environment,
    )
    return json.loads(_run([python, "probe.py"], root, environment))


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write("\n" + text)


def _run(command: list[str], directory: Path, environment: dict[str, str]) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTHON"))}
    done = subprocess.run(command, cwd=directory, env=kept | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout
