"""What makes anybody's ``ModelAdmin`` a place to telephone from. Importing this registers nothing.

class PersonAdmin(CTIAdminMixin, admin.ModelAdmin):
    list_display = ("name", "phone", "mobile")
    cti_number_fields = ("phone", "mobile")
"""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import label_for_field, lookup_field
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.safestring import SafeString, mark_safe

__all__ = ["CTIAdminMixin"]


class CTIAdminMixin:
    """Stands before ``ModelAdmin``: numbers become links that call, and the change page gets the record's calls.

    Set ``cti_number_fields`` to the names of fields (or methods) that hold a number. In the list and wherever they
    are read-only they are links; on the change page they also stand, with the calls, in a panel below the form. The
    panel is shown to people with ``cti_django.use_telephone`` and leaves every other template of the admin alone.
    """

    cti_number_fields: Sequence[str] = ()
    cti_panel = True
    """Whether the change page has the panel. The call log's own pages have none: a call has no calls."""

    @cached_property
    def _cti_links(self) -> dict[str, Callable[[Model], SafeString]]:
        return {name: self._cti_link(name) for name in self.cti_number_fields}

    def _cti_link(self, name: str) -> Callable[[Model], SafeString]:
        own = getattr(self, name, None)
        ordering = name if own is None else getattr(own, "admin_order_field", None)

        @admin.display(description=label_for_field(name, self.model, self), ordering=ordering)
        def link(record: Model) -> SafeString:
            return _number_link(self._cti_value(name, record))

        link.__name__ = name  # the admin's CSS class and the address of the sorted list stay as they were
        return link

    def get_list_display(self, request: HttpRequest) -> Sequence[Any]:
        """The list's columns, those with numbers as links (unless the column links to the record or is editable)."""
        columns = list(super().get_list_display(request))
        taken = {*(self.get_list_display_links(request, columns) or ()), *self.list_editable}
        return [column if column in taken else self._cti_links.get(column, column) for column in columns]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[Any]:
        """The read-only fields, and behind them the links that ``get_fieldsets`` shows in their place.

        The names themselves must stay: they are what keeps the fields out of the form.
        """
        names = super().get_readonly_fields(request, obj)
        return [*names, *(self._cti_links[name] for name in names if name in self._cti_links)]

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> list[tuple[str | None, dict[str, Any]]]:
        """The fieldsets, with links for the numbers that cannot be edited."""
        fieldsets = super().get_fieldsets(request, obj)
        links = self._cti_links
        if obj is None or self.has_change_permission(request, obj):
            read_only = self.get_readonly_fields(request, obj)
            links = {name: link for name, link in links.items() if link in read_only}
        return [(title, {**options, "fields": _replaced(options["fields"], links)}) for title, options in fieldsets]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The change page, wrapped in our panel whatever template it has."""
        response = super().render_change_form(request, context, *args, **kwargs)
        record = context.get("original")
        wanted = self.cti_panel and record is not None and request.user.has_perm("cti_django.use_telephone")
        if wanted and isinstance(response, TemplateResponse) and not context.get("is_popup"):
            response.context_data["cti_change_form"] = response.resolve_template(response.template_name)
            response.context_data["cti_numbers"] = self._cti_numbers(record)
            response.template_name = "cti_django/admin_change_form.html"
        return response

    def _cti_numbers(self, record: Model) -> list[tuple[str, Any]]:
        found = [(label_for_field(name, self.model, self), self._cti_value(name, record)) for name in self._cti_links]
        return [(label, number) for label, number in found if number]

    def _cti_value(self, name: str, record: Model) -> Any:
        return lookup_field(name, record, self)[2]


def _number_link(number: Any) -> SafeString:
    text = render_to_string("cti_django/admin_number.html", {"number": number})
    return mark_safe(text.strip())  # noqa: S308  (the template escapes)


def _replaced(names: Sequence[Any], links: dict[str, Any]) -> list[Any]:
    """`names` (some of them grouped, as fieldsets allow) with the links in the place of their fields, each once."""
    replaced: list[Any] = []
    for name in names:
        if isinstance(name, list | tuple):
            replaced.append(tuple(_replaced(name, links)))
        elif (new := links.get(name, name)) not in replaced:
            replaced.append(new)
    return replaced
