"""The migrations: none is missing, and all of them can be taken back."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from tests.servers import as_default


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "cti_django", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_the_migrations_go_to_zero_and_back() -> None:
    _to_zero_and_back()


def test_on_postgresql_too(transactional_db: None, postgres_database: dict[str, Any]) -> None:
    with as_default(postgres_database):
        _to_zero_and_back()


def _to_zero_and_back() -> None:
    try:
        call_command("migrate", "cti_django", "zero", verbosity=0)
        assert not [name for name in connection.introspection.table_names() if name.startswith("cti_django_")]
    finally:
        call_command("migrate", "cti_django", verbosity=0)
    tables = connection.introspection.table_names()
    assert {"cti_django_callrecord", "cti_django_contactnumber"} <= set(tables)


@pytest.mark.slow
def test_any_user_model_and_several_databases_will_do() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.testapp.staff.walk"], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip().endswith("walked"), done.stderr
