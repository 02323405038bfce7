"""The command line: light to start, the same promises for every command."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tulu_data.cli import COMMANDS, cli, main
from tulu_data.errors import GateError, InputError, RecipeError

HEAVY = ("polars", "pyarrow", "datasets", "torch", "transformers", "openai", "numba", "numpy", "pandas", "pydantic")


def imported_by(*args):
    """The heavy packages that `tulu ARGS` imports, in a process of its own."""
    code = (
        "import sys\nfrom tulu_data.cli import main\n"
        f"try:\n    main({list(args)!r})\nexcept SystemExit:\n    pass\n"
        f"print('IMPORTED', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.rsplit("IMPORTED ", 1)[1].strip()


def test_help_imports_nothing_heavy():
    assert imported_by("--help") == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_imports_nothing_heavy(name):
    assert imported_by(name, "--help") == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_ends_with_an_example(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.strip().splitlines()[-1].strip().startswith(f"Example: tulu {name}")


def example_of(name):
    return CliRunner().invoke(cli, [name, "--help"]).output.strip().splitlines()[-1].strip().removeprefix("Example: ")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which the quickstart has run, with a raw file of its own."""
    folder = tmp_path_factory.mktemp("workplace")
    rows = [{"instruction": f"Add {i} and {i}.", "input": "", "output": str(2 * i)} for i in range(20)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"response": f"{i} + {i} = {2 * i}", "ground_truth": str(2 * i)} for i in range(20)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    for made in (["run", "quickstart"], ["synth", "precise-if", "--n", "12", "--name", "instructions"]):
        done = subprocess.run([tulu(), *made], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [tulu(), "audit", "grade_math", "--suites", "quickstart", "-o", "audit"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def tulu():
    return os.path.join(os.path.dirname(sys.executable), "tulu")  # noqa: PTH118, PTH120


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_each_command_runs_as_printed(name, workplace):
    command = shlex.split(example_of(name))
    done = subprocess.run([tulu(), *command[1:]], cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_an_unknown_command_names_the_nearest_and_exits_2():
    result = CliRunner().invoke(cli, ["ingst"])
    assert result.exit_code == 2
    assert "no command 'ingst'; did you mean 'ingest'?" in result.output


@pytest.mark.parametrize(("error", "code"), [(InputError, 1), (RecipeError, 2), (GateError, 3)])
def test_an_error_is_one_line_on_stderr_and_its_exit_code(monkeypatch, capsys, error, code):
    def fail(**kwargs):
        raise error("gsm.jsonl:17: messages must end with 'assistant', got 'user'")

    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(SystemExit) as stopped:
        main([])
    captured = capsys.readouterr()
    assert stopped.value.code == code
    assert captured.out == ""
    assert captured.err == "error: gsm.jsonl:17: messages must end with 'assistant', got 'user'\n"


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(**kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(ZeroDivisionError):
        main([])


@pytest.mark.parametrize(
    "args",
    [
        ["show", "--json"],
        ["show", "quickstart", "--json"],
        ["run", "quickstart", "--json"],
        ["run", "quickstart", "--dry-run", "--json"],
        ["diff", "grade_math", "grade_math-clean", "--json"],
        ["verify", "quickstart", "--json"],
        ["doctor", "--json"],
        ["gc", "--dry-run", "--json"],
        ["audit", "grade_math", "--suites", "quickstart", "--json"],
        ["mix", "grade_math:all", "-o", "m", "--dry-run", "--json"],
    ],
    ids=" ".join,
)
def test_json_on_stdout_is_one_document_and_progress_goes_to_stderr(args, workplace):
    done = subprocess.run([tulu(), *args], cwd=workplace, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is not None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed_and_complete_dataset_names(shell, workplace):
    script = subprocess.run([tulu(), "completion", shell], cwd=workplace, capture_output=True, text=True, check=True)
    assert "_TULU_COMPLETE" in script.stdout
    environment = os.environ | {"_TULU_COMPLETE": "bash_complete", "COMP_WORDS": "tulu show grade", "COMP_CWORD": "2"}
    done = subprocess.run([tulu()], cwd=workplace, env=environment, capture_output=True, text=True, check=False)
    assert "plain,grade_math" in done.stdout.splitlines()
