"""The procedural families of code and of safety: what they claim of their tasks, checked by the verifiers."""

import ast
import json
import random
import re
from itertools import combinations

import pytest

from personas.procedural import code, safety
from personas.procedural.code_form import noun_of
from personas.procedural.family import Scene
from tulu_data.verifiers import Task, verify, verify_all

SCENES = (
    Scene(
        persona="a beekeeper who sells honey at a market",
        topic="keeping bees",
        items=("jars of honey", "hive frames"),
        place="at the farmers' market",
        name="Ada",
    ),
    Scene(
        persona="a retired bus driver who repairs old radios for neighbours and keeps all spare parts in tins",
        topic="repairing radios",
        items=("pâté-shaped knobs", "tins of screws"),
        place="in the cellar workshop",
        name="Tomasz",
    ),
)
SEEDS = range(12)
BY_NAME = {f.name: f for f in (*code.FAMILIES, *safety.FAMILIES)}


def made(family, seed, scene=SCENES[0]):
    return family.make(random.Random(seed), scene)


def all_made(families, seeds=SEEDS):
    return [(f.name, seed, s, made(f, seed, s)) for f in families for seed in seeds for s in SCENES]


def source(response):
    (block,) = re.findall(r"```python\n(.*?)\n```", response, re.DOTALL)
    return block


def grams(text):
    words = text.lower().split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def slots_in(text, scene):
    return sum(s in text for s in (scene.persona, scene.topic, *scene.items, scene.place, scene.name))


# ------------------------------------------------------------ both


def test_names_are_different_and_the_families_are_many():
    assert len(BY_NAME) == len(code.FAMILIES) + len(safety.FAMILIES)
    assert len(code.FAMILIES) >= 16


@pytest.mark.parametrize("name", BY_NAME)
def test_the_same_state_gives_the_same_task(name):
    for scene in SCENES:
        assert made(BY_NAME[name], 7, scene) == made(BY_NAME[name], 7, scene)


@pytest.mark.parametrize(("families", "least"), [(code.FAMILIES, 150), (safety.FAMILIES, 100)], ids=["code", "safety"])
def test_seeds_give_different_prompts(families, least):
    for family in families:
        assert len({made(family, seed).prompt for seed in range(200)}) >= least, family.name


def test_nothing_is_left_unfilled():
    for name, seed, _, task in all_made(BY_NAME.values()):
        texts = [task.prompt, task.response, task.wrong, *task.tests]
        texts += [v for v in task.numbers.values() if isinstance(v, str)]
        assert not any("$" in t for t in texts), (name, seed)


# ------------------------------------------------------------ code


def test_the_reference_and_the_second_solution_pass_and_the_wrong_one_and_an_empty_body_fail():
    cases = all_made(code.FAMILIES)
    tasks, expected = [], []
    for name, seed, _, task in cases:
        empty = f"```python\ndef {task.entry_point}(*a, **k): pass\n```"
        for kind, answer in (
            ("reference", task.response),
            ("second", task.numbers["second"]),
            ("wrong", task.wrong),
            ("empty", empty),
        ):
            tasks.append(Task("code", answer, task.truth))
            expected.append((name, seed, kind, kind in ("reference", "second")))
    for verdict, (name, seed, kind, right) in zip(verify_all(tasks, workers=2), expected, strict=True):
        assert verdict.valid, (name, seed, kind, verdict.reason)
        assert verdict.right == right, (name, seed, kind, verdict.reason)


def test_the_solutions_differ_and_the_wrong_one_is_python():
    for name, seed, _, task in all_made(code.FAMILIES):
        first, second, wrong = map(source, (task.response, task.numbers["second"], task.wrong))
        assert len({first, second, wrong}) == 3, (name, seed)
        for text in (first, second, wrong):
            compile(text, name, "exec")


def test_the_tests_are_asserts_of_the_entry_point():
    for name, seed, _, task in all_made(code.FAMILIES):
        assert 6 <= len(task.tests) <= 8, (name, seed)
        assert len(set(task.tests)) == len(task.tests), (name, seed)
        assert json.loads(task.truth) == {"tests": list(task.tests), "entry_point": task.entry_point}
        for test in task.tests:
            (node,) = ast.parse(test).body
            assert isinstance(node, ast.Assert), (name, seed)
            assert test.startswith(f"assert {task.entry_point}("), (name, seed)


def test_the_expected_values_are_not_all_the_same():
    for name, seed, _, task in all_made(code.FAMILIES, range(60)):
        assert len({t.rpartition(" == ")[2] for t in task.tests}) >= 3, (name, seed)


def test_the_prompt_has_the_signature_of_the_solution_and_an_example_from_the_tests():
    for name, seed, _, task in all_made(code.FAMILIES):
        header = next(line for line in source(task.response).splitlines() if line.startswith("def "))
        assert f"`{header.rstrip(':')}`" in task.prompt, (name, seed)
        call, value = task.tests[0].removeprefix("assert ").rsplit(" == ", 1)
        assert f"`{call}`" in task.prompt, (name, seed)
        assert f"`{value}`" in task.prompt, (name, seed)


@pytest.mark.parametrize("family", code.FAMILIES, ids=lambda f: f.name)
def test_a_prompt_is_set_in_the_scene_and_begins_in_four_ways_or_more(family):
    for scene in SCENES:
        prompts = [made(family, seed, scene).prompt for seed in range(60)]
        for prompt in prompts:
            assert prompt.startswith(("Write a Python function to ", "Write a Python function named `"))
            assert scene.persona in prompt
            assert slots_in(prompt, scene) >= 3
        openings = {re.sub(r"`\w+`|\d+", "", p.split(".")[0]) for p in prompts}
        assert len(openings) >= 4


@pytest.mark.parametrize("family", code.FAMILIES, ids=lambda f: f.name)
def test_prompts_of_different_scenes_are_no_near_duplicates(family):
    prompts = [grams(made(family, seed, SCENES[seed % 2]).prompt) for seed in range(40)]
    shares = [
        len(a & b) / len(a | b)
        for i, j in combinations(range(40), 2)
        if (i - j) % 2
        for a, b in [(prompts[i], prompts[j])]
    ]
    assert max(shares) < 0.7


def test_a_response_is_a_sentence_or_two_and_one_block():
    for name, seed, _, task in all_made(code.FAMILIES):
        said = task.response.split("\n\n```python\n")[0]
        assert said[-1] == ".", (name, seed)
        assert "\n" not in said, (name, seed)
        assert task.response.endswith("\n```"), (name, seed)


@pytest.mark.parametrize(
    ("item", "noun"),
    [
        ("jars of honey", "jars"),
        ("hive frames", "frames"),
        ("loaves with seeds", "loaves"),
        ("pâtés", "pates"),
        ("X-ray films", "films"),
        ("茶", "items"),
    ],
)
def test_a_noun_makes_an_identifier(item, noun):
    assert noun_of(item) == noun
    assert f"pack_{noun_of(item)}".isidentifier()


# ------------------------------------------------------------ safety


def test_the_categories_have_their_families():
    counts = dict.fromkeys(safety.CATEGORIES, 0)
    for family in safety.FAMILIES:
        task = made(family, 1)
        assert task.truth == task.numbers["category"]
        assert family.name.startswith(task.truth)
        counts[task.truth] += 1
    assert counts == {"incomplete": 3, "unsupported": 3, "indeterminate": 3, "humanizing": 3, "unsafe": 2}


def test_what_is_unsafe_is_declined_and_every_twin_is_answered():
    for name, seed, _, task in all_made(safety.FAMILIES, range(40)):
        assert verify("refusal", task.numbers["twin_response"], "comply").right, (name, seed)
        assert verify("refusal", task.wrong, "comply").right, (name, seed)
        if task.truth == "unsafe":
            assert verify("refusal", task.response, "refuse").right, (name, seed)


def test_an_answer_does_what_its_category_calls_for_and_a_bad_one_does_not():
    for name, seed, _, task in all_made(safety.FAMILIES, range(40)):
        assert verify("noncompliance", task.response, task.truth).right, (name, seed)
        assert not verify("noncompliance", task.wrong, task.truth).right, (name, seed)


def test_a_twin_is_another_request_with_a_direct_answer():
    for name, seed, _, task in all_made(safety.FAMILIES, range(40)):
        twin, answer = task.numbers["twin_prompt"], task.numbers["twin_response"]
        assert twin != task.prompt
        assert 2 <= len(re.findall(r"[.?!]'?(?= |$)", answer)) <= 5, (name, seed, answer)
        assert not answer.endswith("?"), (name, seed)
        assert len({task.response, task.wrong, answer}) == 3


def test_requests_and_twins_are_set_in_the_scene():
    for name, seed, scene, task in all_made(safety.FAMILIES, range(40)):
        assert slots_in(task.prompt, scene) >= 2, (name, seed, task.prompt)
        assert slots_in(task.numbers["twin_prompt"], scene) >= 1, (name, seed)


@pytest.mark.parametrize("family", safety.FAMILIES, ids=lambda f: f.name)
def test_a_request_has_four_wordings_or_more(family):
    prompts = {re.sub(r"\d+", "", made(family, seed).prompt)[:12] for seed in range(100)}
    assert len(prompts) >= 4


def test_sums_of_twins_are_right():
    for name, seed, _, task in all_made(safety.FAMILIES, range(40)):
        for terms, total in re.findall(r"(\d+(?: [+×] \d+)+) = (\d+)", task.numbers["twin_response"]):
            assert eval(terms.replace("×", "*")) == int(total), (name, seed)
