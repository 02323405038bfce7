"""A real OpenAI-compatible server: `transformers serve` with a tiny Llama made on the spot."""

import json
from importlib.util import find_spec

import pytest

from tulu_data.llm.client import Client, Stopped
from tulu_data.llm.endpoint import Endpoint
from tulu_data.llm.journal import Journal
from tulu_data.llm.request import Answer, Request

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(find_spec(name) for name in ("torch", "transformers", "fastapi", "uvicorn")),
        reason="needs torch and transformers[serving]",
    ),
]


def ask(served, folder, count, **params):
    url, model = served
    found = []
    asked = (
        Request(model, ({"role": "user", "content": f"Say {i}."},), {"max_tokens": 8, **params}) for i in range(count)
    )
    with Journal(folder, [url]) as journal:
        tally = Client([Endpoint(url, max_in_flight=8)], journal).run(asked, lambda _, answer: found.append(answer))
    return found, tally


def test_answers_and_usage_come_and_are_kept(served, tmp_path):
    found, tally = ask(served, tmp_path, 24)
    assert all(isinstance(a, Answer) and isinstance(a.text, str) for a in found)
    assert all(a.usage.prompt > 0 and 0 < a.usage.completion <= 8 for a in found)
    assert (tally.answered, tally.failed) == (24, 0)
    assert tally.completion_tokens == sum(a.usage.completion for a in found)
    _, again = ask(served, tmp_path, 24)
    assert (again.kept, again.sent) == (24, 0)


def test_streamed_answers_are_put_together(served, tmp_path):
    found, tally = ask(served, tmp_path, 4, stream=True, temperature=0.0)
    assert tally.answered == 4
    assert all(a.text and a.finish_reason for a in found)
    whole, _ = ask(served, tmp_path / "whole", 4, temperature=0.0)
    # A random model ends within a character, and the server streams none of the bytes of one that is not whole.
    texts = [sorted(a.text.rstrip("\ufffd") for a in answers) for answers in (found, whole)]
    assert texts[0] == texts[1]
    assert any(texts[0])


def test_a_parameter_that_the_server_ignores_is_noticed_and_recorded(served, tmp_path):
    found, tally = ask(served, tmp_path, 2, logprobs=True, response_format={"type": "json_object"}, n=2)
    assert {"logprobs", "n"} <= set(found[0].ignored)
    assert tally.ignored["logprobs"] == 2
    line = json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[1])
    assert "logprobs" not in line["reply"]["choices"][0] or line["reply"]["choices"][0]["logprobs"] is None


def test_an_unknown_model_stops_the_run_in_one_line(served, tmp_path):
    url, _ = served
    asked = [Request("no-such/model", ({"role": "user", "content": "hi"},), {"max_tokens": 2})] * 30
    with pytest.raises(Stopped) as stopped:
        Client([Endpoint(url)], tries=2).run(asked, lambda *_: None)
    assert "\n" not in str(stopped.value)
