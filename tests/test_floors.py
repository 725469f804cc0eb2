"""The house stands: every module imports lower floors only, as docs/architecture.md says."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cti_django"

F0_CALLS = {"exceptions", "calls"}
F0_WIRE = {"exceptions", "wire"}
F1 = F0_CALLS | F0_WIRE | {"connectors"}
F2 = {"conf", "models", "migrations", "contacts", "outbox", "calllog", "calllog_rows", "deliveries"}
F2 |= {"signals", "threads", "metrics", "logs"}
F3 = {"sessions"}
F4 = {
    "admin",
    "admin_accounts",
    "admin_mixins",
    "apps",
    "checks",
    "consumers",
    "health",
    "management",
    "routing",
    "templatetags",
    "urls",
    "views",
    "webhooks",
}
DJANGO_TESTING = {"testing.connection", "testing.fixtures"}  # the part of the kit that is for projects
DJANGO = {"django", "encrypted_fields", "phonenumbers"}

# Part of the house -> (parts of the house that it may import, packages from elsewhere that it may import)
FLOORS: dict[str, tuple[set[str], set[str]]] = {
    "__init__": (set(), set()),
    "exceptions": (set(), set()),
    "calls": (F0_CALLS, {"phonenumbers"}),
    "wire": (F0_WIRE, {"defusedxml"}),
    "connectors": (F1, set()),
    "connectors.transports": (F1, {"aiohttp", "yarl"}),
    "connectors.sip.locate": (F1, {"dns"}),
    "testing": (F1 | {"testing"}, {"pytest"}),
    **{part: (F1 | F2 | F3 | {"testing"}, DJANGO | {"pytest"}) for part in DJANGO_TESTING},
    "sandbox": (F0_WIRE | {"sandbox"}, {"aiohttp", "yarl"}),
    **dict.fromkeys(F2, (F1 | F2, DJANGO)),
    "metrics": (F1 | F2, {"prometheus_client"}),
    "sessions": (F1 | F2 | F3, DJANGO | {"asgiref", "channels"}),
    **{part: (F1 | F2 | F3, DJANGO | {"asgiref", "channels"}) for part in F4},
}

FACES_THAT_MAY = {
    ("admin", "admin_accounts"),
    ("admin", "admin_mixins"),
    ("urls", "views"),
    ("urls", "health"),
    ("urls", "webhooks"),
    ("routing", "consumers"),
    ("apps", "checks"),
}
SANDBOX_COMMANDS = {"management.commands.cti_sandbox", "management.commands.cti_ring"}
RECORDING_COMMANDS = {"management.commands.cti_connect"}

TOLD_WHOLE = {"calls", "wire", "connectors", "sessions"}
"""Folders of which the plan tells every module."""

READS_DJANGO_CONF = {"conf", "models"}
"""models.py names the user model, which is how Django wants a key to users to be written; it reads no setting."""

IO_AND_CLOCKS = {"asyncio", "http", "selectors", "socket", "ssl", "subprocess", "threading", "time", "urllib.request"}


def modules() -> list[str]:
    """All modules of the package, "calls.board" for cti_django/calls/board.py."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts))
    return found


def imports(module: str, *, for_typing: bool = True) -> Iterator[str]:
    """Everything that a module imports, anywhere in it, by absolute names of modules.

    Without `for_typing`, what stands under ``if TYPE_CHECKING`` is left out.
    """
    path = PACKAGE.joinpath(*module.split("."))
    is_package = path.is_dir()
    source = path / "__init__.py" if is_package else path.with_suffix(".py")
    here = ["cti_django", *([] if module == "__init__" else module.split("."))]
    tree = ast.parse(source.read_text())
    skipped = (
        set() if for_typing else {each for block in ast.walk(tree) if _is_typing(block) for each in ast.walk(block)}
    )
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - (1 if is_package or module == "__init__" else 0)
            base = here[: len(here) - up] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{name}.{alias.name}" if _is_module(f"{name}.{alias.name}") else name


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_module(name: str) -> bool:
    if not name.startswith("cti_django."):
        return name in IO_AND_CLOCKS or name == "django.conf"
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def inside(module: str, *, for_typing: bool = True) -> list[str]:
    """What a module imports of the house, without "cti_django."."""
    names = [name for name in imports(module, for_typing=for_typing) if _is_ours(name)]
    found = {name.removeprefix("cti_django").removeprefix(".") for name in names}
    return sorted(found - {""})


def _is_ours(name: str) -> bool:
    return name == "cti_django" or name.startswith("cti_django.")


def part_of(module: str) -> str:
    return module if module in FLOORS else module.partition(".")[0]


def test_every_module_has_its_floor() -> None:
    assert not [module for module in modules() if part_of(module) not in FLOORS]


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_its_floor_may(module: str) -> None:
    part = part_of(module)
    parts, packages = FLOORS[part]
    own = module.partition(".")[0]
    faces = {to for face, to in FACES_THAT_MAY if face == own}
    sandbox = {"sandbox"} if module in SANDBOX_COMMANDS else set()
    sandbox |= {"testing"} if module in RECORDING_COMMANDS else set()
    ours = {name.partition(".")[0] for name in inside(module)}
    assert ours - {own} <= parts | faces | sandbox
    others = {name.partition(".")[0] for name in imports(module)} - {"cti_django"}
    assert others - set(sys.stdlib_module_names) <= packages


@pytest.mark.parametrize("module", [module for module in modules() if part_of(module) in ("calls", "wire")])
def test_the_pure_floor_has_neither_clock_nor_io(module: str) -> None:
    assert not IO_AND_CLOCKS & set(imports(module))
    tree = ast.parse((PACKAGE / Path(*module.split("."))).with_suffix(".py").read_text()) if "." in module else None
    calls = {node.func.attr for node in ast.walk(tree) if _is_method_call(node)} if tree else set()
    assert not {"now", "utcnow", "today"} & calls


def _is_method_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)


def test_only_the_settings_module_reads_django_conf() -> None:
    readers = {part_of(module) for module in modules() if "django.conf" in imports(module)}
    assert readers - {"migrations"} <= READS_DJANGO_CONF
    settings_of_models = {
        node.attr
        for node in ast.walk(ast.parse((PACKAGE / "models.py").read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings"
    }
    assert settings_of_models == {"AUTH_USER_MODEL"}


def test_no_module_needs_itself() -> None:
    known = set(modules())
    needs = {module: {name for name in inside(module, for_typing=False) if name in known} for module in known}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module in done:
            return
        for each in sorted(needs[module]):
            visit(each, (*way, module))
        done.add(module)

    for module in sorted(known):
        visit(module, ())


def test_the_package_itself_imports_nothing() -> None:
    assert list(imports("__init__")) == []


def test_the_lower_floors_load_without_django() -> None:
    parts = ("__init__", "exceptions", "calls", "wire", "connectors", "testing", "sandbox")
    names = [
        "cti_django" if module == "__init__" else f"cti_django.{module}"
        for module in modules()
        if module.partition(".")[0] in parts and module not in DJANGO_TESTING
    ]
    code = (
        "import importlib, sys\n"
        "for name in ('django', 'channels', 'asgiref'): sys.modules[name] = None\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print('loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "loaded", done.stderr


def test_every_part_of_the_house_stands_in_its_plan() -> None:
    plan = (ROOT / "docs" / "architecture.md").read_text()
    missing = [
        path.name
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.name not in plan
    ]
    assert not missing


def test_every_module_of_the_house_is_told_of() -> None:
    """In the plan; or, for what is one connector's own, in the docstring of its folder."""
    plan = (ROOT / "docs" / "architecture.md").read_text()
    untold = []
    for module in modules():
        *folders, name = module.split(".")
        if not folders or folders[0] not in TOLD_WHOLE or PACKAGE.joinpath(*folders, name).is_dir():
            continue
        told = plan if len(folders) == 1 else PACKAGE.joinpath(*folders, "__init__.py").read_text()
        if f"{name}.py" not in told:
            untold.append(module)
    assert not untold


def test_every_module_says_what_is_public() -> None:
    silent = []
    for module in modules():
        path = PACKAGE.joinpath(*module.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        text = source.read_text()
        if text.count("\n") > 5 and "migrations" not in module and "__all__" not in text and module != "__init__":
            silent.append(module)
    assert not silent
