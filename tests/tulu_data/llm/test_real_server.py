"""A real OpenAI-compatible server: `transformers serve` with a tiny Llama made on the spot."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

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

TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}\n{% endfor %}<|assistant|>\n"


def make_model(folder):
    """A random Llama of some hundred thousand parameters, with a tokenizer of bytes and the Tülu template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-llama")
    make_model(folder)
    cache = tmp_path_factory.mktemp("cache")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--continuous-batching"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    log = (cache / "log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while not healthy(port):
            assert server.poll() is None, (cache / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (cache / "log").read_text()[-2000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        log.close()


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


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
    assert sorted(a.text for a in found) == sorted(a.text for a in whole)


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
