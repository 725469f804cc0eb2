"""Plug-ins, one for each kind of telephone system. asyncio, no Django, no database."""

__all__: list[str] = []
