"""System checks: what is wrong with the project's set-up, said before the first call."""

__all__: list[str] = []
