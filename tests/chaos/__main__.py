"""``python -m tests.chaos``: a site with real servers, faults in it, and a table of what must hold."""

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from .director import Run, run
from .verdict import Verdict

__all__ = ["main"]


def main() -> int:
    """0 if everything holds, 1 if something does not, 2 if the run could not be made."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long the agents work (%(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="what happens, and what goes wrong (%(default)d)")
    parser.add_argument("--processes", type=int, default=4, help="ASGI processes, Daphne and uvicorn (%(default)d)")
    parser.add_argument("--agents", type=int, default=30, help="two browsers each (%(default)d)")
    parser.add_argument("--lease-seconds", type=float, default=4.0, help="the life of a lease (%(default)g)")
    parser.add_argument("--keep", action="store_true", help="keep the logs even if everything holds")
    given = parser.parse_args()
    wanted = Run(given.seconds, given.seed, given.processes, given.agents, given.lease_seconds)
    folder = Path(tempfile.mkdtemp(prefix="cti-django-chaos-"))
    verdict = None
    try:
        verdict = asyncio.run(_run(wanted, folder))
        print(verdict, flush=True)
        (folder / "verdict.txt").write_text(f"{verdict}\n")
    except (RuntimeError, TimeoutError) as error:
        print(f"The run could not be made: {error!r}", file=sys.stderr)
    finally:
        if verdict is None or verdict.violations or given.keep:
            print(f"The logs of all processes: {folder}", flush=True)
        else:
            shutil.rmtree(folder)
    return 2 if verdict is None else int(bool(verdict.violations))


async def _run(wanted: Run, folder: Path) -> Verdict:
    """The run; SIGTERM ends it as Ctrl-C does, and everything that it has started with it."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(wanted, folder, lambda text: print(text, flush=True))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(main())
    sys.exit(130)
