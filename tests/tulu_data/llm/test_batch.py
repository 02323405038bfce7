"""OpenAI Batch against a local server, and vLLM's calls against its signatures."""

import inspect
import json
import sys
import types
from collections import namedtuple
from importlib.util import find_spec

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tulu_data.cli import cli
from tulu_data.errors import UsageError
from tulu_data.llm import openai_batch
from tulu_data.llm.client import Stopped
from tulu_data.llm.endpoint import Endpoint
from tulu_data.llm.journal import Journal
from tulu_data.llm.offline_vllm import OfflineVLLM
from tulu_data.llm.openai_batch import Batches
from tulu_data.llm.prices import Price
from tulu_data.llm.request import Request


def requests(count, first=0):
    return [Request("m", ({"role": "user", "content": f"q{i}"},)) for i in range(first, first + count)]


@pytest.fixture
def opened(serve, tmp_path):
    server = serve()
    with Journal(tmp_path, [server.url]) as journal:
        yield server, journal, lambda: Batches(tmp_path, Endpoint(server.url), journal, Price(1, 1))


def test_submit_poll_fetch_each_step_by_itself(opened):
    server, journal, batches = opened
    assert batches().submit(requests(10)) == 10
    assert [b["status"] for b in batches().poll()] == ["in_progress"]
    assert batches().fetch() == 0
    assert batches().submit(requests(12)) == 2  # ten are under way
    server.finish_batch("batch-0")
    assert batches().fetch() == 10
    assert batches().fetch() == 0
    assert journal.get(requests(1)[0].key).reply["choices"][0]["message"]["content"] == "answer to q0"
    assert journal.get(requests(1)[0].key).usd == pytest.approx(0.5 * 15 / 1e6)  # half the price


def test_an_expired_batch_is_read_to_the_end_and_the_rest_is_submitted_again(opened):
    server, journal, batches = opened
    batches().submit(requests(10))
    server.finish_batch("batch-0", status="expired", answer_share=0.6)
    fetching = batches()
    assert fetching.fetch() == 6
    assert [f.reason for f in fetching.failures] == ["batch_expired"] * 4
    assert batches().submit(requests(10)) == 4
    server.finish_batch("batch-1")
    assert batches().fetch() == 4
    assert len(journal) == 10


def test_a_crash_between_creating_a_batch_and_noting_it_submits_nothing_twice(opened, monkeypatch):
    server, _, batches = opened
    crashing = batches()
    save = Batches._save

    def crash(self):
        if self.known[-1]["batch"]:
            raise KeyboardInterrupt
        save(self)

    monkeypatch.setattr(Batches, "_save", crash)
    with pytest.raises(KeyboardInterrupt):
        crashing.submit(requests(5))
    monkeypatch.undo()
    assert len(server.batches) == 1
    assert batches().submit(requests(5)) == 0
    assert len(server.batches) == 1
    assert batches().poll()[0]["batch"] == "batch-0"


def test_files_keep_to_the_limits(opened, monkeypatch):
    monkeypatch.setattr(openai_batch, "MAX_REQUESTS", 4)
    server, _, batches = opened
    assert batches().submit([*requests(10), *requests(2)]) == 10
    assert [f.count(b"\n") for f in server.files.values()] == [4, 4, 2]


def test_a_server_without_batches_is_one_line(tmp_path, serve):
    server = serve()
    url = server.url.replace("/v1", "/none")
    with Journal(tmp_path, [url]) as journal, pytest.raises(Stopped, match="what was submitted and fetched is kept"):
        Batches(tmp_path, Endpoint(url), journal).submit(requests(1))


def test_the_command(serve, tmp_path):
    server = serve()
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"q{i}"}) + "\n" for i in range(6)))
    args = ["complete", path, "--model", "m", "--base-url", server.url, "-o", tmp_path / "run", "--batch"]

    def run(step):
        return CliRunner().invoke(cli, [*map(str, args), step], catch_exceptions=False)

    assert "submitted 6 requests" in run("submit").output
    assert "in_progress" in run("poll").output
    server.finish_batch("batch-0")
    assert "fetched 6 answers" in run("fetch").output
    rows = pq.read_table(tmp_path / "run" / "answers.parquet")["response"].to_pylist()
    assert rows == [f"answer to q{i}" for i in range(6)]


# ------------------------------------------------------------ vLLM

# The parameters that vLLM 0.33 has: vllm/entrypoints/llm.py and vllm/sampling_params.py. Where vLLM is installed the
# test reads them from it.
CHAT_0_33 = (
    "messages sampling_params use_tqdm lora_request priority chat_template chat_template_content_format "
    "add_generation_prompt continue_final_message tools chat_template_kwargs tokenization_kwargs mm_processor_kwargs"
).split()
SAMPLING_0_33 = (
    "n presence_penalty frequency_penalty repetition_penalty temperature top_p top_k min_p seed stop stop_token_ids "
    "ignore_eos max_tokens min_tokens logprobs prompt_logprobs detokenize skip_special_tokens "
    "include_stop_str_in_output structured_outputs logit_bias bad_words"
).split()


@pytest.fixture
def fake_vllm(monkeypatch):
    """A stand-in with vLLM's signatures that refuses any call which the real one would."""
    chat_names, sampling_names = set(CHAT_0_33), set(SAMPLING_0_33)
    if find_spec("vllm"):
        import vllm

        chat_names = set(inspect.signature(vllm.LLM.chat).parameters)
        sampling_names = set(inspect.signature(vllm.SamplingParams).parameters)
    Completion = namedtuple("Completion", "text token_ids finish_reason")
    Output = namedtuple("Output", "prompt_token_ids outputs")
    calls = []

    class SamplingParams:
        def __init__(self, **given):
            assert set(given) <= sampling_names, given
            self.given = given

    class LLM:
        def __init__(self, model, **engine):
            self.model = model

        def chat(self, messages, **given):
            assert set(given) <= chat_names
            calls.append((len(messages), given["sampling_params"].given))
            n = given["sampling_params"].given.get("n", 1)
            return [Output([1, 2], [Completion(f"to {m[-1]['content']}", [3], "stop")] * n) for m in messages]

    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "vllm", module)
    return calls


def test_vllm_is_asked_in_chunks_with_its_own_names_and_not_twice(fake_vllm, tmp_path):
    params = {"max_completion_tokens": 5, "temperature": 0.5, "n": 2}
    asked = [Request("m", ({"role": "user", "content": f"q{i}"},), params) for i in range(10)]
    found = {}
    with Journal(tmp_path, ["vllm:m"]) as journal:
        backend = OfflineVLLM("m", journal, chunk=4)
        tally = backend.run(asked, lambda r, a: found.__setitem__(r.messages[0]["content"], a))
        assert (tally.answered, tally.prompt_tokens, tally.completion_tokens) == (10, 20, 20)
        assert found["q3"].texts == ("to q3", "to q3")
        assert found["q3"].finish_reason == "stop"
        assert fake_vllm == [(n, {"max_tokens": 5, "temperature": 0.5, "n": 2}) for n in (4, 4, 2)]
        assert backend.run(asked, lambda *_: None).kept == 10
        assert len(fake_vllm) == 3


def test_an_answer_leads_to_further_requests(fake_vllm, tmp_path):
    def solve(request, answer):
        return (
            [Request("m", ({"role": "user", "content": "solve"},))]
            if request.sample == 0 and answer.text == "to q0"
            else None
        )

    with Journal(tmp_path, ["vllm:m"]) as journal:
        assert OfflineVLLM("m", journal).run(requests(1), solve).answered == 2


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_remedy_is_named(tmp_path):
    with Journal(tmp_path, ["vllm:m"]) as journal, pytest.raises(UsageError, match=r"pip install 'tulu-data\[vllm\]'"):
        OfflineVLLM("m", journal).run(requests(1), lambda *_: None)
