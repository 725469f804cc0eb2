"""The servers that tests start: a restart keeps the port, and what should be kept."""

import redis as redis_client
from django.db import connection

from tests.servers import as_default, postgres, redis


def test_a_postgresql_that_stopped_without_notice_comes_back_with_its_data(transactional_db):
    with postgres() as server:
        with as_default(server.create("crm")), connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT 7 AS number")
        server.stop()
        assert not server.is_running
        server.start()
        with as_default(server.database("crm")), connection.cursor() as cursor:
            cursor.execute("SELECT number FROM kept")
            assert cursor.fetchall() == [(7,)]
    assert not server.is_running


def test_a_redis_that_stopped_without_notice_comes_back_empty():
    with redis() as server:
        with redis_client.Redis.from_url(server.url) as client:
            client.set("kept", "7")
        server.restart()
        with redis_client.Redis.from_url(server.url) as client:
            assert client.get("kept") is None
    assert not server.is_running


def test_each_test_has_its_own_empty_database_with_all_tables(transactional_db, postgres_database):
    with as_default(postgres_database):
        assert connection.vendor == "postgresql"
        assert "cti_django_agentlease" in connection.introspection.table_names()
    assert connection.vendor == "sqlite"
