"""The README and docs tell the truth: commands run, output is what comes out, recipes load, links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tulu_data import recipe as recipes
from tulu_data.adapters import adapter
from tulu_data.suites import load_suites

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(label):
    """The fenced blocks that follow `<!-- label -->`, in order."""
    return re.findall(rf"<!-- {label} -->\n```\w+\n(.*?)```", README, flags=re.S)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    lines = [f'{{"prompt": "What is {i} plus {i}?", "response": "It is {2 * i}."}}\n' for i in range(50)]
    (folder / "my-data.jsonl").write_text("".join(lines))
    (folder / "my-mixture.yaml").write_text(blocks("recipe")[0])
    return folder


def run(command, folder):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_every_command_and_program_of_the_readme_runs_in_order(workplace):
    found = re.findall(r"<!-- (run|python) -->\n```\w+\n(.*?)```", README, flags=re.S)
    assert len(found) >= 3
    for label, text in found:
        command = text if label == "run" else f"{sys.executable} - <<'END'\n{text}END\n"
        done = run(command, workplace)
        assert done.returncode == 0, f"{text}\n{done.stderr}"


def test_the_quickstart_ends_as_the_readme_prints_it(tmp_path):
    printed = re.search(r"The first ends like this:\n\n```text\n(.*?)```", README, flags=re.S).group(1)
    done = run("tulu run quickstart", tmp_path)
    assert done.returncode == 0, done.stderr

    def squeezed(text):
        return [re.sub(r"[ ─]+", " ", line).strip() for line in text.splitlines() if line.strip(" ─")]

    assert squeezed(done.stdout)[-len(squeezed(printed)) :] == squeezed(printed)


def test_the_two_commands_are_make_targets_that_build_their_own_environment():
    makefile = (ROOT / "Makefile").read_text()
    for label in ("quickstart", "test"):
        assert blocks(label) == [f"make {label}\n"]
        assert re.search(rf"^{label}: \.venv", makefile, flags=re.M)


def test_every_block_of_the_readme_is_checked():
    fences = len(re.findall(r"^```\w", README, flags=re.M))
    labelled = sum(len(blocks(label)) for label in ("quickstart", "test", "run", "recipe", "python"))
    assert fences == labelled + 2  # the printed output and the map


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_recipe_and_suites_file_of_the_docs_is_valid(page, tmp_path):
    for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), flags=re.M | re.S):
        data = yaml.safe_load(text)
        if "suites" in data:
            (tmp_path / "suites.yaml").write_text(text)
            assert load_suites(tmp_path / "suites.yaml")
            continue
        if "sources" not in data:
            sources = {name: {"path": f"{name}.jsonl"} for name in data["mix"]}
            data = {"name": "of-the-docs", "sources": sources, **data}
        recipe = recipes.from_data(data, place=page.name, base=tmp_path).recipe
        assert recipe.mix
        for name, source in recipe.sources.items():
            if source.adapter:
                assert adapter(source.adapter), name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_the_map_of_the_readme_is_the_tree():
    for name in re.findall(r"^(\w+)/ ", README, flags=re.M):
        assert (ROOT / name).is_dir()
