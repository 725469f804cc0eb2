"""``python -m tests.pbx.record FOLDER [FLOW ...]``: what Asterisk's manager interface tells of each call flow.

Each flow of the tests is played on an Asterisk of its own. FOLDER/FLOW gets ``ami.txt``, the interface's own bytes as a
manager with the least rights hears them, and ``story.json``, what each agent was told.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from tests.connectors.asterisk.test_flows import repertoire
from tests.pbx.asterisk import Asterisk, asterisk
from tests.pbx.stage import Outcome

__all__ = ["main", "record"]


async def record(pbx: Asterisk, flow: str) -> tuple[bytes, Outcome]:
    """Play one flow; what was told of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pbx.ami_port)
    writer.write(f"Action: Login\r\nActionID: 1\r\nUsername: cti\r\nSecret: {pbx.secret}\r\n\r\n".encode())
    outcomes = await repertoire.play_on(pbx, [flow])
    writer.write(b"Action: Logoff\r\n\r\n")
    heard = await reader.read(-1)
    writer.close()
    return heard.partition(b"Response: Goodbye")[0], outcomes[flow]


def main() -> int:
    """Record; 1 if a flow did not go as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("flows", nargs="*", metavar="flow", help=", ".join(repertoire.flows))
    given = parser.parse_args()
    failed = 0
    for flow in given.flows or repertoire.flows:
        with asterisk() as pbx:
            heard, outcome = asyncio.run(record(pbx, flow))
        place = given.folder / flow.replace("_", "-")
        place.mkdir(parents=True, exist_ok=True)
        (place / "ami.txt").write_bytes(heard)
        (place / "story.json").write_text(json.dumps(outcome.told, indent=2, ensure_ascii=False) + "\n")
        is_right = outcome.trouble is None and outcome.told == outcome.expected
        failed += not is_right
        print(f"{flow}: {'recorded' if is_right else outcome.trouble or 'not as it should be'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
