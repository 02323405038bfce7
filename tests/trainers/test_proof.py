"""The demonstration: its numbers come from what was measured, claims that fail are told, and the trainers learn."""

import json
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from trainers import proof, proof_claims, proof_task
from trainers.policy import Answers
from trainers.proof_claims import RULES, Claim, Cost, Measured, Proof
from trainers.proof_command import proof_command
from trainers.rollout import Rollout
from tulu_data.errors import GateError

SMALL = proof_task.Budget(
    held_out=40,
    samples=2,
    start=0.3,
    sft_first=100,
    sft_every=100,
    sft_epochs=2,
    dpo_epochs=1,
    reward_epochs=1,
    rlvr_steps=2,
    answers=16,
)


def rates(*values):
    return Measured(values)


GOOD = Claim("ppo 1", "held-out sampled pass rate", rates(0.5, 0.25), rates(1.0, 0.75), "rises by 0.2")
BAD = Claim("grpo 1", "held-out sampled pass rate", rates(0.5, 0.5), rates(0.5, 0.75), "rises by 0.2")


def rigged(tmp_path, *claims):
    return Proof(tmp_path, list(claims), {"ppo 1": Cost(12.25, 30.5), "grpo 1": Cost(7.0, 8.0)})


@pytest.fixture
def returning(monkeypatch, tmp_path):
    """The command on claims that are given."""

    def call(claims, *options):
        monkeypatch.setattr(proof, "prove", lambda output, **_: rigged(output, *claims))
        return CliRunner().invoke(proof_command, ["-o", str(tmp_path / "out"), *options])

    return call


def test_a_number_is_the_mean_or_the_share_above_zero_of_what_was_measured():
    assert rates(0.25, 0.75).value == 0.5
    assert Measured((-1.0, 0.0, 0.5, 3.0), share=True).value == 0.5


@pytest.mark.parametrize(
    ("rule", "before", "after", "holds"),
    [
        ("falls by 30 %", 2.0, 1.4, True),
        ("falls by 30 %", 2.0, 1.5, False),
        ("is at least 0.8", 0.0, 0.8, True),
        ("is at least 0.8", 1.0, 0.79, False),
        ("is at least 0.9", 0.0, 0.9, True),
        ("is at least 0.9", 1.0, 0.89, False),
        ("rises by 0.2", 0.5, 0.75, True),
        ("rises by 0.2", 0.5, 0.625, False),
        ("rises by 0.1", 0.5, 0.375, False),
        ("rises by less than 0.1", 0.5, 0.5625, True),
        ("rises by less than 0.1", 0.5, 0.75, False),
        ("falls to 0", 0.1, 0.0, True),
        ("falls to 0", 0.1, 0.01, False),
    ],
)
def test_a_rule_says_when_a_claim_holds(rule, before, after, holds):
    assert Claim("part", "what", rates(before), rates(after), rule).holds is holds


def test_every_rule_is_tested_above():
    marks = test_a_rule_says_when_a_claim_holds.pytestmark
    assert {given[0] for given in marks[0].args[1]} == set(RULES)


def test_a_claim_that_fails_is_an_error_in_one_line_with_its_numbers(tmp_path):
    rigged(tmp_path, GOOD).check()
    with pytest.raises(GateError) as wrong:
        rigged(tmp_path, GOOD, BAD).check()
    assert "1 of 2 claims: not so: grpo 1: held-out sampled pass rate, 0.500 → 0.625, rises by 0.2" in str(wrong.value)
    assert "ppo" not in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_the_command_prints_the_table_and_then_fails_with_exit_code_3(returning):
    found = returning([GOOD, BAD])
    assert isinstance(found.exception, GateError)
    assert found.exception.exit_code == 3
    lines = {line.split("  ")[0].strip(): line for line in found.stdout.splitlines() if line.strip()}
    assert all(text in lines["ppo 1"] for text in ("0.375", "0.875", "rises by 0.2", "yes", "12.2", "30.5"))
    assert all(text in lines["grpo 1"] for text in ("0.500", "0.625", "NO"))
    assert all(text in lines["all"] for text in ("NO", "19.2", "38.5"))


def test_the_command_succeeds_where_all_claims_hold_and_gives_json(returning):
    found = returning([GOOD], "--json")
    assert found.exit_code == 0
    told = json.loads(found.stdout)
    assert told["holds"] is True
    assert told["claims"][0] == {
        "part": "ppo 1", "claim": "held-out sampled pass rate", "before": 0.375, "after": 0.875,
        "rule": "rises by 0.2", "holds": True,
    }  # fmt: skip


def test_shuffled_rewards_are_the_same_rewards_and_hang_on_seed_and_step():
    rollouts = [Rollout((1,), (i,), True, (0.0,)) for i in range(32)]
    answers = Answers(rollouts, [10.0 * (i % 2) for i in range(31)] + [None], 4)
    found = proof.shuffled(answers, 1, 7)
    assert found == proof.shuffled(answers, 1, 7)
    assert found.rewards != answers.rewards
    assert found.rewards != proof.shuffled(answers, 1, 8).rewards
    assert found.rewards != proof.shuffled(answers, 2, 7).rewards
    assert sorted(found.rewards, key=str) == sorted(answers.rewards, key=str)
    assert (found.rollouts, found.samples) == (rollouts, 4)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return proof.prove(tmp_path_factory.mktemp("proof"), seeds=1, budget=SMALL)


@pytest.mark.slow
def test_the_audit_takes_the_planted_prompts_out_of_what_is_trained_on(small):
    claim = small.claims[0]
    assert claim.holds
    assert sum(claim.before.values) == proof_task.PLANTED * (2 + proof_task.WRONG)
    assert len(claim.after.values) == 960 * (2 + proof_task.WRONG)


@pytest.mark.slow
def test_every_trainer_is_measured_on_the_held_out_prompts(small):
    parts = ["audit", "sft", "dpo", "reward", "ppo 1", "ppo shuffled", "grpo 1", "grpo shuffled"]
    assert list(small.costs) == parts
    assert list(dict.fromkeys(c.part for c in small.claims)) == parts
    measured = {(c.part, c.what): c for c in small.claims}
    assert len(measured["sft", "held-out loss, nats a token"].after.values) == SMALL.held_out
    assert len(measured["reward", "held-out accuracy of pairs"].after.values) == SMALL.held_out * proof_task.WRONG
    rates = [c for c in small.claims if c.what == proof.PASSED]
    assert {v for c in rates for v in c.after.values} <= {0.0, 0.5, 1.0}  # shares of two samples
    assert len({c.before for c in rates if c.part != "dpo"}) == 1


@pytest.mark.slow
def test_even_a_small_training_lowers_the_held_out_loss(small):
    assert next(c for c in small.claims if c.part == "sft").holds


@pytest.mark.slow
def test_the_picture_the_pages_and_the_evidence_are_there(small):
    svg = ElementTree.parse(small.folder / proof_claims.CURVES).getroot()
    said = svg.attrib["aria-label"]
    assert all(name in said for name in ("Passed", "Loss", "Accuracy", "KL", "ppo-1", "grpo-shuffled", "dpo"))
    page = (small.folder / proof_claims.PAGE).read_text()
    assert all(name in page for name in ("ppo-1", "ppo-shuffled", "grpo-1", "grpo-shuffled"))
    assert len(list(small.folder.glob("*/report.html"))) == 7
    told = json.loads((small.folder / proof_claims.RESULT).read_text())
    for claim, kept in zip(small.claims, told["claims"], strict=True):
        assert Measured(tuple(kept["values_after"]), claim.after.share).value == kept["after"] == claim.after.value


@pytest.mark.slow
def test_done_again_in_the_same_folder_it_takes_no_step_and_says_the_same(small):
    steps = [p.read_text() for p in sorted(small.folder.glob("*/metrics.jsonl"))]
    again = proof.prove(small.folder, seeds=1, budget=SMALL)
    assert again.claims == small.claims
    assert [p.read_text() for p in sorted(small.folder.glob("*/metrics.jsonl"))] == steps
