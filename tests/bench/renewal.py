"""Renewing 1,000 leases, as a process does three times in the life of a lease, on SQLite and on PostgreSQL.

Floor: one bare UPDATE of the same 1,000 rows by the database's driver, on the same connection, in turns.
"""

import gc
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from .report import line, percentile
from .world import has_programs, use_settings

LEASES = 1_000
OTHERS = 4_000  # of other processes, in the same table
ROUNDS = 60
HOLDER = "bench:1:00000000"
BARE = {
    "sqlite": "UPDATE {table} SET expires_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '+10 seconds') WHERE holder = ?",
    "postgresql": "UPDATE {table} SET expires_at = statement_timestamp() + interval '10 seconds' WHERE holder = %s",
}


def _fill() -> list[int]:
    """Agents with leases, LEASES of them HOLDER's; their ids."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from cti_django.models import AgentLease
    from cti_django.sessions import lease

    call_command("migrate", verbosity=0)
    users = get_user_model()
    made = users.objects.bulk_create(users(username=f"agent{number}") for number in range(LEASES + OTHERS))
    ids = [user.pk for user in made]
    others = (AgentLease(agent_id=pk, holder=f"other:{pk % 4}:00000000", fence=1) for pk in ids[LEASES:])
    AgentLease.objects.bulk_create(others)
    for pk in ids[:LEASES]:
        lease.claim(pk, HOLDER, 600.0)
    return ids[:LEASES]


def _measure(vendor: str) -> None:
    from django.db import connection

    from cti_django.models import AgentLease
    from cti_django.sessions import lease

    ids = _fill()
    gc.freeze()  # what filling has left is not the renewal's to walk through
    statement = BARE[vendor].format(table=AgentLease._meta.db_table)
    ours: list[float] = []
    floor: list[float] = []
    for _round in range(ROUNDS):
        began = time.perf_counter()
        renewed = lease.renew(HOLDER, 10.0, ids)
        ours.append((time.perf_counter() - began) * 1000)
        assert renewed == LEASES, renewed
        with closing(connection.connection.cursor()) as cursor:
            began = time.perf_counter()
            cursor.execute(statement, [HOLDER])
            floor.append((time.perf_counter() - began) * 1000)
            assert cursor.rowcount == LEASES, cursor.rowcount
    warm = ROUNDS // 10
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        line(
            f"lease_renewal_{label}",
            percentile(ours[warm:], share),
            "ms",
            floor=percentile(floor[warm:], share),
            database=vendor,
            leases=LEASES,
            rows=LEASES + OTHERS,
        )


def main(vendor: str) -> None:
    """Measure on one kind of database. To be run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="cti-bench-") as name:
        if vendor == "sqlite":
            use_settings(Path(name))
            _measure(vendor)
            return
        if not has_programs("pg_ctl", "initdb"):
            return
        from tests.servers import postgres

        with postgres() as server:
            use_settings(Path(name), database=server.create("bench"))
            _measure(vendor)


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1])
    else:
        for name in BARE:
            subprocess.run([sys.executable, "-m", "tests.bench.renewal", name], check=True)
