import re
import subprocess
import sys

import pytest
from django.contrib import admin
from django.core.checks import run_checks
from django.test import Client, override_settings

from cti_django import contacts
from tests.faces.pages import DANA, HOSTILE, assert_strict, contact_source, make_agent, make_call, make_user
from tests.testapp.models import Badge, Company, Person

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.faces.admin_urls")]

LINK = '<a class="cti-call" href="tel:+442079460018"'
RIGHTS = [
    f"testapp.{action}_{model}" for action in ("view", "change", "add") for model in ("person", "company", "badge")
]
VIEWS = [right for right in RIGHTS if ".view_" in right]
BAR = "<cti-call-bar>"


@pytest.fixture
def dana():
    with contact_source(Person, "phone", "mobile"):
        person = Person.objects.create(name=HOSTILE, phone="020 7946 0018", mobile="+44 20 7946 0019")
        contacts.index(Person.objects.all())
        yield person


@pytest.fixture
def editor():
    return make_agent("editor", *RIGHTS, is_staff=True)


@pytest.fixture
def viewer():
    return make_agent("viewer", *VIEWS, is_staff=True)


def browse(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def read(user, path: str, **query) -> str:
    response = browse(user).get(path, query)
    assert response.status_code == 200
    html = response.content.decode()
    assert_strict(html)
    return html


def person_page(person: Person, site: str = "admin") -> str:
    return f"/{site}/testapp/person/{person.pk}/change/"


# -- numbers


def test_numbers_in_the_list_are_links(editor, dana):
    html = read(editor, "/admin/testapp/person/")
    assert html.count('class="cti-call"') == 2
    assert '<td class="field-phone">' + LINK in html


def test_the_list_can_still_be_sorted_by_number(editor, dana):
    Person.objects.create(name="Zoe", phone="+1")
    for order, zoe_is_first in (("2", True), ("-2", False)):
        html = read(editor, "/admin/testapp/person/", o=order)
        assert (html.index("Zoe") < html.index("020 7946 0018")) is zoe_is_first


def test_a_column_that_links_to_the_record_keeps_doing_so(editor):
    Company.objects.create(name="Acme", switchboard=DANA)
    html = read(editor, "/admin/testapp/company/")
    assert '<th class="field-switchboard"><a href="/admin/testapp/company/' in html
    assert '<td class="field-hotline">' + LINK in html


def test_a_read_only_number_is_a_link_and_stays_read_only(editor, dana):
    html = read(editor, person_page(dana))
    assert 'name="phone"' in html
    assert 'name="mobile"' not in html
    assert html.count('href="tel:+442079460019"') == 2  # in its field, and in the panel
    browse(editor).post(person_page(dana), {"name": "Dana", "phone": "1", "mobile": "2", "others": "[]"})
    dana.refresh_from_db()
    assert (dana.phone, dana.mobile) == ("1", "+44 20 7946 0019")


def test_fields_that_stand_side_by_side_and_methods_work(editor, viewer):
    company = Company.objects.create(name="Acme", switchboard=DANA)
    page = f"/admin/testapp/company/{company.pk}/change/"
    html = read(editor, page)
    assert 'name="switchboard"' in html
    assert html.count(LINK) == 3  # the read-only hotline, and both in the panel
    assert read(viewer, page).count(LINK) == 4


def test_a_viewer_sees_links_and_no_form_fields(viewer, dana):
    html = read(viewer, person_page(dana))
    assert 'name="phone"' not in html
    assert html.count(LINK) == 2


def test_adding_a_record_works(editor, dana):
    read(editor, "/admin/testapp/person/add/", phone=DANA)
    response = browse(editor).post("/admin/testapp/person/add/", {"name": "New", "phone": DANA, "others": "[]"})
    assert response.status_code == 302
    assert Person.objects.filter(name="New", phone=DANA).exists()


# -- the panel


def test_the_change_page_shows_the_records_calls(editor, viewer, dana):
    make_call(editor, "c7", source_name=HOSTILE)
    for user in (editor, viewer):
        html = read(user, person_page(dana))
        assert "&lt;img src=x" in html
        assert "3:07" in html


def test_without_the_permission_there_is_no_panel_and_no_bar(dana):
    clerk = make_user("clerk", *RIGHTS, is_staff=True)
    make_call(clerk, "c7")
    html = read(clerk, person_page(dana))
    assert "cti-panel" not in html
    assert BAR not in html
    assert "3:07" not in html


def test_a_change_form_template_of_ones_own_is_kept(editor):
    own = '{% extends "admin/change_form.html" %}{% block form_top %}<p>own words</p>{% endblock %}'
    templates = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    ("django.template.loaders.locmem.Loader", {"admin/own_change_form.html": own}),
                    "django.template.loaders.app_directories.Loader",
                ],
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ],
            },
        }
    ]
    badge = Badge.objects.create(holder="Bob", extension="10031")
    with override_settings(TEMPLATES=templates):
        html = read(editor, f"/other/testapp/badge/{badge.pk}/change/")
    assert "own words" in html
    assert 'id="cti-panel"' in html


def test_the_change_page_takes_the_same_queries_for_any_number_of_calls(editor, dana, django_assert_max_num_queries):
    client = browse(editor)
    make_call(editor, "c0")
    client.get(person_page(dana))
    for number in range(1, 15):
        make_call(editor, f"c{number}")
    with django_assert_max_num_queries(12):
        assert client.get(person_page(dana)).content.count(b"3:07") == 15


# -- the bar


@pytest.mark.parametrize("path", ["/admin/", "/admin/testapp/", "/admin/testapp/person/", "/admin/password_change/"])
@pytest.mark.parametrize("site", ["admin", "other"])
def test_the_bar_is_on_every_page_of_every_admin_site(site, path, viewer):
    html = read(viewer, path.replace("/admin/", f"/{site}/", 1))
    assert BAR in html
    assert '"face": "admin"' in html
    assert "cti-connector.js" in html


def test_the_admins_own_look_is_kept(viewer):
    assert "Another admin" in read(viewer, "/other/")
    assert "Django administration" in read(viewer, "/admin/")


def test_there_is_no_bar_on_the_log_in_page(client, viewer):
    html = client.get("/admin/login/").content.decode()
    assert BAR not in html
    assert "cti-connector.js" not in html
    not_staff = make_agent("site-only")
    assert BAR not in read(not_staff, "/admin/login/")


def test_there_is_no_bar_in_a_popup(editor, dana):
    html = read(editor, person_page(dana), _popup="1")
    assert BAR not in html
    assert "cti-panel" not in html
    assert BAR not in read(editor, "/admin/testapp/person/", _popup="1")


def test_the_bars_files_come_once(viewer):
    html = read(viewer, "/admin/")
    assert len(re.findall(r"cti-connector\.js", html)) == 1


# -- as a module


def test_importing_the_mixin_registers_nothing():
    code = (
        "import django; django.setup();"
        "from django.contrib import admin; before = set(admin.site._registry);"
        "import cti_django.admin_mixins; assert set(admin.site._registry) == before"
    )
    env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": "/usr/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=60)


def test_djangos_checks_have_nothing_to_say_about_the_admin():
    from tests.faces.admin_urls import other_site, site

    for each in (admin.site, site, other_site):
        assert each.check(None) == []
    assert run_checks(tags=["admin"]) == []
