import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client

from cti_django import contacts
from cti_django.admin import ConnectorAccountForm
from cti_django.models import (
    AgentLease,
    CallNote,
    CallRecord,
    ConnectorAccount,
    ContactNumber,
    RememberedChoice,
    WebhookDelivery,
)
from cti_django.sessions import lease
from tests.faces.pages import DANA, HOSTILE, NOON, assert_strict, make_call, make_user
from tests.testapp.models import Person

pytestmark = pytest.mark.django_db

PASSWORD = "correct-horse-battery"
API_KEY = "482910:staple-key"
BASE = "/admin/cti_django/"
MODELS = [
    "connectoraccount",
    "callrecord",
    "callnote",
    "agentlease",
    "contactnumber",
    "rememberedchoice",
    "webhookdelivery",
]


def staff(name: str = "root", *permissions: str, **fields):
    return make_user(name, *permissions, is_staff=True, **fields)


def every_right(action: str) -> list[str]:
    return [f"cti_django.{action}_{model}" for model in MODELS]


@pytest.fixture
def root():
    return staff(is_superuser=True)


@pytest.fixture
def account():
    return ConnectorAccount.objects.create(
        user=make_user("alice"), username="alice@example.com", password=PASSWORD, api_key=API_KEY
    )


def browse(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def read(user, path: str, status: int = 200) -> str:
    response = browse(user).get(BASE + path)
    assert response.status_code == status
    html = response.content.decode()
    assert PASSWORD not in html
    assert API_KEY not in html
    if status == 200:
        assert_strict(html)
    return html


def fields_of(account: ConnectorAccount, **changes) -> dict:
    values = {"user": account.user_id, "connector": "voipstudio", "username": account.username, "options": "{}"}
    return {**values, "is_active": "on", **changes}


def change(user, account: ConnectorAccount, **changes):
    response = browse(user).post(f"{BASE}connectoraccount/{account.pk}/change/", fields_of(account, **changes))
    html = response.content.decode()
    assert PASSWORD not in html
    assert API_KEY not in html
    account.refresh_from_db()
    return response


def errors_of(**changes) -> dict:
    account = ConnectorAccount.objects.first() or ConnectorAccount(user=make_user("alice"))
    return ConnectorAccountForm(fields_of(account, **changes), instance=account).errors


# -- accounts


def test_a_secret_is_never_shown_again(root, account):
    read(root, "connectoraccount/")
    html = read(root, f"connectoraccount/{account.pk}/change/")
    assert html.count('type="password"') == 2
    assert "gAAAA" not in html


def test_an_empty_secret_keeps_the_stored_one(root, account):
    assert change(root, account, number="10031").status_code == 302
    assert (account.password, account.api_key, account.number) == (PASSWORD, API_KEY, "10031")


def test_a_new_secret_replaces_the_stored_one_and_is_nowhere_in_the_clear(root, account):
    change(root, account, new_password="  new password ")
    assert (account.password, account.api_key) == ("  new password ", API_KEY)
    assert "new password" not in LogEntry.objects.get().change_message
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT password FROM {ConnectorAccount._meta.db_table}")
        assert "new password" not in cursor.fetchone()[0]


def test_a_secret_can_be_forgotten(root, account):
    change(root, account, clear_password="on", clear_api_key="on")
    assert not account.password
    assert not account.api_key


def test_entering_and_forgetting_at_once_is_an_error_and_changes_nothing(root, account):
    response = change(root, account, new_password="brand-new", clear_password="on")
    assert "Either enter a new one or forget the stored one." in response.content.decode()
    assert "brand-new" not in response.content.decode()
    assert account.password == PASSWORD


def test_a_secret_that_cannot_be_read_is_not_encrypted_twice(root, account):
    table = ConnectorAccount._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET password = 'gAAAAAunreadable' WHERE id = %s", [account.pk])
    change(root, account, number="10031")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT password FROM {table} WHERE id = %s", [account.pk])
        assert cursor.fetchone() == ("gAAAAAunreadable",)


def test_an_account_can_be_added(root):
    alice = make_user("alice")
    data = {"user": alice.pk, "connector": "voipstudio", "options": "{}", "new_api_key": API_KEY}
    response = browse(root).post(f"{BASE}connectoraccount/add/", data)
    assert response.status_code == 302
    assert ConnectorAccount.objects.get().api_key == API_KEY


def test_the_form_starts_with_the_projects_connector(root):
    assert '<option value="voipstudio" selected>' in read(root, "connectoraccount/add/")


def test_a_viewer_sees_the_account_but_no_field_for_secrets(account):
    viewer = staff("viewer", "cti_django.view_connectoraccount")
    html = read(viewer, f"connectoraccount/{account.pk}/change/")
    assert "alice@example.com" in html
    assert 'type="password"' not in html
    response = browse(viewer).post(f"{BASE}connectoraccount/{account.pk}/change/", fields_of(account, new_password="x"))
    assert response.status_code == 403


@pytest.mark.parametrize("options", ["[1]", '"x"', "{", '{"api_ulr": "https://example.com"}', '{"api_url": 7}'])
def test_options_that_the_connector_does_not_understand_are_refused_in_words(options, account):
    assert "options" in errors_of(options=options)


def test_an_unknown_connector_is_refused(account):
    assert "connector" in errors_of(connector="nonesuch")


def test_an_account_of_a_connector_that_is_gone_can_be_opened(root, account):
    ConnectorAccount.objects.update(connector="former")
    assert '<option value="former" selected>' in read(root, f"connectoraccount/{account.pk}/change/")
    account.refresh_from_db()
    assert "not set up" in str(errors_of(connector="former")["connector"])


@pytest.mark.parametrize(("region", "is_good"), [("gb", True), ("", True), ("XX", False), ("4x", False), ("ÄÖ", False)])
def test_a_region_is_two_letters(region, is_good, account):
    assert ("region" not in errors_of(region=region)) is is_good


# -- what can only be looked at


@pytest.fixture
def rows(account):
    record = make_call(account.user, source_name=HOSTILE, source_raw=HOSTILE, cause=HOSTILE)
    content_type = ContentType.objects.get_for_model(ConnectorAccount)
    return {
        "connectoraccount": account,
        "callrecord": record,
        "callnote": CallNote.objects.create(call=record, author=account.user, text=HOSTILE),
        "agentlease": AgentLease.objects.create(agent=account.user, holder=HOSTILE, fence=3, expires_at=NOON),
        "contactnumber": ContactNumber.objects.create(
            content_type=content_type, object_id="1", number=DANA, kind="number", label=HOSTILE
        ),
        "rememberedchoice": RememberedChoice.objects.create(
            agent=account.user, number=DANA, content_type=content_type, object_id="1"
        ),
        "webhookdelivery": WebhookDelivery.objects.create(
            endpoint="main", received_at=NOON, stage="ringing", provider_call_id=HOSTILE, fields={"from": [HOSTILE]}
        ),
    }


@pytest.mark.parametrize("model", MODELS)
def test_every_page_works_for_superusers_and_viewers_and_is_strict(model, rows, root):
    viewer = staff("viewer", f"cti_django.view_{model}", "cti_django.use_telephone")
    for user in (root, viewer):
        read(user, f"{model}/")
        read(user, f"{model}/{rows[model].pk}/change/")
    read(staff("nobody"), f"{model}/", status=403)


@pytest.mark.parametrize("model", MODELS[1:])
def test_what_the_app_writes_cannot_be_added_or_changed_by_hand(model, rows, root):
    read(root, f"{model}/add/", status=403)
    client = browse(root)
    assert client.post(f"{BASE}{model}/{rows[model].pk}/change/", {}).status_code == 403
    removable = model in ("contactnumber", "rememberedchoice")
    response = client.post(f"{BASE}{model}/{rows[model].pk}/delete/", {"post": "yes"})
    assert response.status_code == (302 if removable else 403)


def test_a_call_shows_its_notes_to_those_who_may_see_notes(rows):
    viewer = staff("viewer", *every_right("view"))
    assert read(viewer, f"callrecord/{rows['callrecord'].pk}/change/").count("&lt;img src=x") == 5


@pytest.mark.parametrize("query", ["020 7946 0018", "+44 (0)20 7946 0018", "c1"])
def test_calls_are_found_by_number_however_written_and_by_id(query, root, account):
    make_call(account.user, "c1")
    make_call(account.user, "c2", number="+442079460099")
    response = browse(root).get(f"{BASE}callrecord/", {"q": query})
    assert [call.call_id for call in response.context["cl"].result_list] == ["c1"]


def test_the_list_of_calls_takes_the_same_queries_for_any_number_of_calls(root, django_assert_max_num_queries):
    for number in range(30):
        make_call(make_user(f"agent{number}"), f"c{number}")
    client = browse(root)
    with django_assert_max_num_queries(5):
        assert client.get(f"{BASE}callrecord/").content.decode().count(DANA) >= 30


def test_numbers_in_the_list_of_calls_can_be_clicked(root, account):
    make_call(account.user)
    assert 'class="cti-call" href="tel:+442079460018"' in read(root, "callrecord/")


def test_the_call_log_shows_the_contacts_of_calls_to_those_who_may_see_them(
    root, account, django_assert_max_num_queries
):
    viewer = staff("viewer", "cti_django.view_callrecord")
    content_type = contacts.content_type_id(Person, "default")
    for number in range(10):
        person = Person.objects.create(name=f"Person {number}", phone=DANA)
        contacts.index(Person.objects.filter(pk=person.pk))
        make_call(account.user, f"c{number}", content_type_id=content_type, object_id=str(person.pk))
    link = f'<a href="/admin/testapp/person/{person.pk}/change/">Person 9</a>'
    page = f"callrecord/{CallRecord.objects.get(call_id='c9').pk}/change/"
    for path in ("callrecord/", page):
        assert link in read(root, path)
        html = read(viewer, path)
        assert "Person" not in html
        assert "Dana" in html
    client = browse(root)
    with django_assert_max_num_queries(6):
        assert client.get(f"{BASE}callrecord/").content.count(b">Person ") == 10


def test_a_call_in_the_admin_has_no_panel_of_its_own_calls_and_no_raw_ids(root, account):
    html = read(root, f"callrecord/{make_call(account.user).pk}/change/")
    assert "cti-panel" not in html
    assert "Object id" not in html


def test_a_name_that_is_only_the_number_is_not_shown_in_the_call_log(root, account):
    make_call(account.user, source_name="+44 20 7946 0018")
    assert '<td class="field-other_side"></td>' in read(root, "callrecord/")


def test_the_agent_of_a_new_account_is_looked_up_by_name(root):
    html = read(root, "connectoraccount/add/")
    assert "admin-autocomplete" in html
    assert "clear_password" not in html
    assert "stored" not in html
    assert "VoIPstudio: the e-mail address." in html
    adder = staff("adder", "cti_django.add_connectoraccount")  # who may not look at users
    assert "vForeignKeyRawIdAdminField" in read(adder, "connectoraccount/add/")


def test_only_sessions_that_a_process_has_are_listed(rows, root):
    AgentLease.objects.create(agent=make_user("bob"), holder="")
    html = read(root, "agentlease/")
    assert "alice" in html
    assert "bob" not in html


def test_a_session_that_nobody_renewed_does_not_run(rows, root):
    assert "icon-no" in read(root, "agentlease/")


def instruct(user, action: str, *agents):
    """What the admin answers to an action on these agents' sessions."""
    data = {"action": action, "_selected_action": [agent.pk for agent in agents]}
    return browse(user).post(f"{BASE}agentlease/", data, follow=True).content.decode()


def instructions() -> dict[str, str]:
    return dict(AgentLease.objects.exclude(instruction="").values_list("agent__username", "instruction"))


def test_a_session_is_listed_with_its_process_fence_line_and_calls(root):
    alice = make_user("alice")
    lease.claim(alice.pk, "web1:11:aa", 10.0)
    lease.note_links("web1:11:aa", {"lost": [alice.pk]})
    for number, state in enumerate(("RINGING", "ON_HOLD", "HANGUP")):
        make_call(alice, f"c{number}", state=state)
    html = read(root, "agentlease/")
    assert "icon-yes" in html
    for column, text in (("holder", "web1:11:aa"), ("fence", "1"), ("line", "line lost"), ("calls", "2")):
        assert f'<td class="field-{column}">{text}</td>' in html


def test_the_list_of_sessions_takes_the_same_queries_for_any_number_of_them(root, django_assert_max_num_queries):
    for number in range(30):
        agent = make_user(f"agent{number}")
        lease.claim(agent.pk, "web1:11:aa", 10.0)
        make_call(agent, f"c{number}", state="CONNECTED")
    client = browse(root)
    with django_assert_max_num_queries(5):
        assert client.get(f"{BASE}agentlease/").content.count(b"web1:11:aa") == 30


@pytest.mark.parametrize("action", ["hand_over", "close"])
def test_who_may_change_sessions_has_them_handed_over_and_closed(action):
    alice, bob, carol = (make_user(name) for name in ("alice", "bob", "carol"))
    for agent in (alice, bob, carol):
        lease.claim(agent.pk, "web1:11:aa", 10.0)
    operator = staff("operator", "cti_django.view_agentlease", "cti_django.change_agentlease")
    html = instruct(operator, action, alice, carol)
    assert instructions() == {"alice": action, "carol": action}
    assert "2 sessions are" in html
    assert "1 session is" in instruct(operator, action, bob)
    assert_strict(html)


@pytest.mark.parametrize("permissions", [["cti_django.view_agentlease"], every_right("view"), every_right("delete")])
def test_who_may_only_look_at_sessions_is_offered_no_action_and_has_none(permissions):
    alice = make_user("alice")
    lease.claim(alice.pk, "web1:11:aa", 10.0)
    viewer = staff("viewer", *permissions)
    for action in ("hand_over", "close", "delete_selected"):
        instruct(viewer, action, alice)
    assert instructions() == {}
    assert AgentLease.objects.count() == 1
    if "cti_django.view_agentlease" in permissions:
        html = read(viewer, "agentlease/")
        assert "web1:11:aa" in html
        assert 'name="action"' not in html


def test_the_admin_registers_exactly_our_models():
    ours = {model for model in admin.site._registry if model._meta.app_label == "cti_django"}
    assert ours == set(apps.get_app_config("cti_django").get_models())
