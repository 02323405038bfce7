"""A version that went through filters and duplicates before its audit passes the gate, as it is and in a mixture."""

import json

import pytest
from click.testing import CliRunner

from trainers import gate
from tulu_data.cli import cli
from tulu_data.errors import GateError
from tulu_data.store import Store


def tulu(*args):
    done = CliRunner().invoke(cli, list(map(str, args)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_rows_that_were_filtered_and_made_unique_before_the_audit_pass(tmp_path):
    store = tmp_path / "store"
    said = [{"prompt": f"Tell me a short story about the number {i % 30}", "response": f"Once there was {i % 30}."}
            for i in range(40)]  # fmt: skip
    for name, extra in (("mine", said), ("theirs", said[:20])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in extra))
        tulu("ingest", path, "--license", "mit", "--store", store, "-q")
    tulu("filter", "mine", "--store", store, "-q")
    tulu("dedup", "mine-filtered", "--store", store, "-q", "-o", "mine-unique")
    tulu("audit", "mine-unique", "--suites", "quickstart", "-o", tmp_path / "audit", "--store", store, "-q")
    tulu("drop", "mine-unique", "--audit", tmp_path / "audit", "--store", store, "-q")
    tulu("mix", "mine-unique-clean:all", "-o", "mixed", "--store", store, "-q")
    tulu("mix", "mine-unique-clean:all", "theirs:all", "-o", "half", "--store", store, "-q")
    opened = Store(store)
    assert opened.open("mine-unique").rows == 30
    for name in ("mine-unique-clean", "mixed"):
        assert "mini_math" in gate.clear(opened.open(name), ["quickstart"], opened).suites
    with pytest.raises(GateError, match="theirs has no decontamination record"):
        gate.clear(opened.open("half"), ["quickstart"], opened)
