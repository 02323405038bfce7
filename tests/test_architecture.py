"""The direction of the arrows: personas → tulu_data ← decontam, trainers → tulu_data, and nothing back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("tulu_data", "personas", "decontam", "trainers")
MAY_IMPORT = {name: {name, "tulu_data"} for name in PACKAGES}
HEAVY_LIGHT_MODULES = ("tulu_data/cli.py", "tulu_data/errors.py", "tulu_data/commands/options.py")
TORCH_HOMES = ("trainers",)


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_packages_import_only_themselves_and_the_floor(path):
    package = path.relative_to(ROOT).parts[0]
    assert imports(path) & set(PACKAGES) <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_torch_stays_in_the_trainers(path):
    if path.relative_to(ROOT).parts[0] not in TORCH_HOMES:
        assert not imports(path) & {"torch", "transformers"}


@pytest.mark.parametrize("name", HEAVY_LIGHT_MODULES)
def test_the_command_line_shell_imports_only_click_and_the_standard_library(name):
    third_party = imports(ROOT / name, top_level=True) & {"rich", "pydantic", "yaml", "numpy", "pyarrow", "polars"}
    assert not third_party


def test_the_floor_names_other_packages_only_as_strings_in_its_tables():
    from tulu_data import cli, pipeline

    tables = {"tulu_data/cli.py", "tulu_data/pipeline.py"}
    named = set()
    for path in modules():
        name = str(path.relative_to(ROOT))
        if not name.startswith("tulu_data/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                head = node.value.split(":")[0].split(".")
                if len(head) > 1 and head[0] in PACKAGES[1:] and all(part.isidentifier() for part in head):
                    named.add((name, node.value))
    assert {where for where, _ in named} == tables
    assert {what for _, what in named} == {
        e.target for e in cli.COMMANDS.values() if "tulu_data" not in e.target
    } | set(pipeline.STEPS.values()) | set(cli.VIEWS.values()) | set(cli.PAGES.values())


def test_no_test_folder_is_a_package():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_recipes_hold_data_only():
    assert not list((ROOT / "recipes").rglob("*.py"))


def test_the_public_names_are_what_they_are_called_whatever_was_imported_before():
    import decontam
    import decontam.auditing
    import tulu_data
    import tulu_data.ingestion
    import tulu_data.mixture

    for package in (tulu_data, decontam):
        for name in package.__all__:
            assert callable(getattr(package, name)), name
            assert not (ROOT / package.__name__ / f"{name}.py").exists(), f"a module would hide {package}.{name}"
