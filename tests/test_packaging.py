"""The distribution: four packages and the recipes, nothing else, and all of it beside each other."""

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"tulu_data", "decontam", "personas", "trainers"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_holds_exactly_the_four_packages_and_the_recipes(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES | {"recipes"}


def test_the_wheel_ships_types_recipes_sample_data_and_licence(wheel):
    names = wheel.namelist()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    shipped = {name for name in names if name.startswith("recipes/")}
    assert shipped == {str(p.relative_to(ROOT)) for p in (ROOT / "recipes").rglob("*") if p.is_file()}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_packages_share_one_parent():
    parents = {Path(importlib.import_module(name).__file__).parents[1] for name in PACKAGES}
    assert len(parents) == 1


def test_doctor_names_the_distribution_that_shadows_us(tmp_path, monkeypatch):
    from tulu_data import doctor

    fake = tmp_path / "trainers"
    fake.mkdir()
    (fake / "__init__.py").write_text("")
    info = tmp_path / "rival-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (info / "RECORD").write_text("trainers/__init__.py,,\n")
    (info / "top_level.txt").write_text("trainers\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "trainers", raising=False)
    found = [f for f in doctor.examine(tmp_path) if f.subject == "trainers"]
    assert [f.level for f in found] == ["problem"]
    assert "shadowed by rival" in found[0].message


def test_doctor_finds_nothing_wrong_here(tmp_path):
    from tulu_data import doctor

    assert [f for f in doctor.examine(tmp_path) if f.level == "problem"] == []
