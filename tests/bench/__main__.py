"""All benches, each in a process of its own: ``python -m tests.bench [name ...]``."""

import subprocess
import sys

RING = [["ring", server, str(agents)] for agents in (1, 100, 1000) for server in ("daphne", "uvicorn")]
ACROSS = [["across", str(agents)] for agents in (100, 1000)]
RENEWAL = [["renewal", database] for database in ("sqlite", "postgresql")]
BENCHES = [
    ["notify"],
    ["ami"],
    ["asterisk_memory"],
    ["subscriptions"],
    ["match"],
    *RENEWAL,
    ["sessions"],
    ["reconnect"],
    *RING,
    ["slow_query"],
    *ACROSS,
]


def main(names: list[str]) -> int:
    """Run the benches named (all without a name); 1 if one failed to run. No figure decides the exit code."""
    failed = 0
    for module, *args in BENCHES:
        if not names or module in names:
            failed |= bool(
                subprocess.run([sys.executable, "-m", f"tests.bench.{module}", *args], check=False).returncode
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
