"""``manage.py cti_reindex``: read the numbers of the registered models anew."""

import json
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from ...contacts import Source, index, registered, remove_orphans, remove_unregistered, source_for

__all__ = ["Command"]

WIDTH = 30
"""Characters of the progress bar."""


class Command(BaseCommand):
    """Brings the index up to date after bulk_create(), update(), imports, or a changed REGION or ``cti.py``."""

    help = (
        "Read the telephone numbers of the registered models anew, after bulk_create(), update(), imports, or a "
        "changed REGION or cti.py. May be run at any time and as often as you like."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The models, the size of a batch, and the form of the answer."""
        parser.add_argument("models", nargs="*", metavar="app.Model", help="only these models (default: all)")
        parser.add_argument("--batch", type=int, default=500, help="records at a time (default: 500)")
        parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout, no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        """Index one model after the other, then remove what belongs to no record any more."""
        if options["batch"] < 1:
            raise CommandError("--batch must be at least 1.")
        sources = [_source(label) for label in options["models"]] or registered()
        for source in sources:
            began = time.monotonic()
            records = self._index(source, options["batch"], quiet=options["json"])
            removed = remove_orphans(source, batch=options["batch"])
            seconds = round(time.monotonic() - began, 3)
            self._tell(options["json"], model=source.model_label, records=records, removed=removed, seconds=seconds)
        if not options["models"] and (removed := remove_unregistered()):
            self._tell(options["json"], model=None, records=0, removed=removed, seconds=0.0)

    def _index(self, source: Source, batch: int, *, quiet: bool) -> int:
        records = source.model._default_manager.all()
        if quiet or not sys.stderr.isatty():
            return index(records, batch=batch)
        total = records.count() or 1

        def show(done: int) -> None:
            bar = "#" * min(WIDTH, WIDTH * done // total)
            self.stderr.write(f"\r{source.model_label} [{bar:<{WIDTH}}] {done:,}/{total:,}", ending="")

        done = index(records, batch=batch, progress=show)
        self.stderr.write("")
        return done

    def _tell(self, as_json: bool, **result: Any) -> None:
        if as_json:
            self.stdout.write(json.dumps(result))
        elif result["model"] is None:
            self.stdout.write(f"{result['removed']:,} rows of models that are not registered any more removed")
        else:
            self.stdout.write(
                f"{result['model']}: {result['records']:,} records indexed, "
                f"{result['removed']:,} rows of deleted records removed, {result['seconds']} s"
            )


def _source(label: str) -> Source:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise CommandError(f"There is no model {label!r} ({error}).") from None
    source = source_for(model)
    if source is None:
        known = ", ".join(source.model_label for source in registered()) or "none"
        raise CommandError(f"{label} is not registered as a contact source. Registered: {known}.")
    return source
