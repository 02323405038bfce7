"""vLLM as a sampler: its calls are held to the names of vLLM 0.33, and answered with what the tiny model samples.

A stand-in of the package refuses what the real one would, and a small server answers as vLLM's source says.
"""

import inspect
import json
import os
import sys
import types
from collections import namedtuple
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import chain
from threading import Lock, Thread
from typing import NamedTuple

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from trainers import lora
from trainers.rollout import sample
from trainers.samplers import Sampling, TorchSampler, check, open_sampler
from trainers.vllm_engines import Colocated
from trainers.vllm_sampler import VLLMSampler, declared
from tulu_data.errors import TuluError, UsageError

PAD, EOS = 0, 1
PROMPTS = [[5, 6, 7], list(range(20, 40)), [9]]


def opened(folder, scale=8.0):
    """scale: of the matrices; as they are made, attention hardly matters to the logits."""
    made = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in [*made.model.layers.parameters(), made.lm_head.weight]:
            parameter.mul_(scale if parameter.ndim > 1 else 1.0)
    return made


@pytest.fixture(scope="module")
def policy(tiny_llama):
    """No longer what vLLM opened."""
    return opened(tiny_llama, scale=5.0)


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return AutoTokenizer.from_pretrained(tiny_llama)


def drawn(sampler, prompts=PROMPTS, **given):
    how = {"numbers": range(len(prompts)), "samples": 3, "max_new_tokens": 60, "seed": 7, "temperature": 1.0}
    return sampler.sample(prompts, **{**how, **given})


def completions(groups):
    return [[r.completion for r in group] for group in groups]


# ------------------------------------------------------------ vLLM's names

# What vLLM 0.33 takes; where vLLM is installed the first two are read from it. In its wheel: vllm/sampling_params.py,
# vllm/entrypoints/llm.py, engine/arg_utils.py (of the many, those that are used here),
# entrypoints/openai/completion/protocol.py (likewise), distributed/weight_transfer/*.py.
SAMPLING_0_33 = (
    "n presence_penalty frequency_penalty repetition_penalty temperature top_p top_k min_p seed stop stop_token_ids "
    "ignore_eos max_tokens min_tokens logprobs prompt_logprobs detokenize skip_special_tokens"
).split()
GENERATE_0_33 = (
    "prompts sampling_params use_tqdm lora_request priority tokenization_kwargs mm_processor_kwargs"
).split()
ENGINE_0_33 = (
    "max_model_len gpu_memory_utilization enable_sleep_mode weight_transfer_config logprobs_mode dtype"
).split()
COMPLETION_0_33 = (
    "model prompt frequency_penalty logprobs max_tokens n presence_penalty seed stop temperature top_p top_k min_p "
    "repetition_penalty stop_token_ids ignore_eos min_tokens skip_special_tokens return_tokens_as_token_ids "
    "return_token_ids"
).split()


class TrainerInitInfo:
    known = ()

    def __init__(self, **given):
        assert set(given) <= set(self.known), given
        self.__dict__.update(given)


class IPCTrainerInitInfo(TrainerInitInfo):
    known = ("rank", "packed", "packed_buffer_size_bytes")


class NCCLTrainerInitInfo(TrainerInitInfo):
    known = ("rank", "master_address", "master_port", "world_size", "packed", "packed_buffer_size_bytes",
             "packed_num_buffers")  # fmt: skip


class ParamMeta(NamedTuple):
    name: str
    dtype: torch.dtype
    shape: tuple


class WeightSource:
    def __init_subclass__(cls):
        assert isinstance(cls.__dict__["metadata"], cached_property)  # vLLM refuses another


WIRE = {}  # what CUDA IPC or NCCL would carry


class WeightTransferTrainerFactory:
    """distributed/weight_transfer/factory.py and the order of calls of ipc_engine.py and nccl_engine.py."""

    made: list = []  # noqa: RUF012 - cleared by the fixture

    @classmethod
    def trainer_init(cls, init_info, *, client, source=None):
        self = cls()
        self.info, self.client, self.source, self.down = init_info, client, source, False
        client.init_weight_transfer_engine({"packed": True})
        cls.made.append(self)
        return self

    def send_weights(self):
        self.client.start_weight_update()
        for name, tensor in self.source.iter_full():
            WIRE[name] = tensor.clone()
        names = [m.name for m in self.source.metadata]
        assert list(WIRE) == names
        assert all(WIRE[m.name].shape == m.shape and WIRE[m.name].dtype == m.dtype for m in self.source.metadata)
        self.client.update_weights({"names": names})
        self.client.finish_weight_update()

    def shutdown(self):
        self.down = True


class Worker:
    """The model that vLLM samples from, and its side of a transfer, which insists on the order of its steps."""

    def __init__(self, model):
        self.model, self.steps = model, []

    def took(self, step, body=None):
        before = {"start": ("init", "finish"), "update": ("start",), "finish": ("update",)}
        assert step == "init" or self.steps[-1] in before[step], self.steps
        self.steps.append(step)
        if step == "update":
            assert list(body["update_info"]) == ["names"]
            self.model.load_state_dict(WIRE)
            WIRE.clear()


def completed(model, prompt, how):
    """What vLLM would answer under SamplingParams of these names."""
    [eos] = how["stop_token_ids"]
    assert how["ignore_eos"]
    assert -(2**63) <= how["seed"] < 2**63
    assert how["logprobs"] == 0
    off = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
    assert off.items() <= how.items()
    given = {"seed": how["seed"], "temperature": how["temperature"], "max_new_tokens": how["max_tokens"]}
    [[r]] = sample(model, [prompt], samples=1, eos=eos, pad=PAD, **given)
    return r


@pytest.fixture
def fake_vllm(monkeypatch, tiny_llama):
    """A stand-in with vLLM's signatures that refuses any call which the real one would."""
    sampling_names, generate_names = set(SAMPLING_0_33), set(GENERATE_0_33)
    if find_spec("vllm"):
        import vllm

        sampling_names = set(inspect.signature(vllm.SamplingParams).parameters)
        generate_names = set(inspect.signature(vllm.LLM.generate).parameters)
    Logprob = namedtuple("Logprob", "logprob rank decoded_token")
    Completion = namedtuple("Completion", "text token_ids logprobs finish_reason stop_reason")
    Output = namedtuple("Output", "prompt_token_ids outputs")

    class SamplingParams:
        def __init__(self, **given):
            assert set(given) <= sampling_names, given
            self.given = given

    class LLM:
        def __init__(self, model, **engine):
            assert set(engine) <= set(ENGINE_0_33), engine
            assert (model, engine["logprobs_mode"]) == ("policy", "processed_logprobs")
            assert engine["weight_transfer_config"] == {"backend": "ipc"}
            LLM.made, self.engine, self.asleep, self.calls = self, engine, False, []
            names = ("CUDA_VISIBLE_DEVICES", "VLLM_ENABLE_V1_MULTIPROCESSING")
            self.environment = tuple(map(os.environ.get, names))
            self.worker = Worker(opened(tiny_llama))
            self.finish = lambda r: "stop" if r.stopped else "length"

        def generate(self, prompts, sampling_params, **given):
            assert set(given) <= generate_names
            assert not self.asleep
            self.calls.append(f"generate {len(prompts)}")
            found = []
            for prompt, params in zip(prompts, sampling_params, strict=True):
                assert list(prompt) == ["prompt_token_ids"]
                r = completed(self.worker.model, prompt["prompt_token_ids"], params.given)
                logprobs = [{9_999: Logprob(-1.0, 1, None), t: Logprob(p, 2, None)}
                            for t, p in zip(r.completion, r.logps, strict=True)]  # fmt: skip
                found.append(Output(r.prompt, [Completion("", r.completion, logprobs, self.finish(r), None)]))
            return found

        def sleep(self, level=1, mode="abort"):
            self.asleep = True
            self.calls.append("sleep")

        def wake_up(self, tags=None):
            self.asleep = False
            self.calls.append("wake")

        def reset_prefix_cache(self, reset_running_requests=False, reset_connector=False):
            self.calls.append("reset")
            return True

        def init_weight_transfer_engine(self, request):
            assert list(request) == ["init_info"]
            self.worker.took("init")

        def start_weight_update(self):
            assert not self.asleep
            self.worker.took("start")

        def update_weights(self, request):
            self.worker.took("update", request)

        def finish_weight_update(self, weight_version=None):
            self.worker.took("finish")

    def module(name, **held):
        made = types.ModuleType(name)
        made.__dict__.update(held)
        made.__spec__ = types.SimpleNamespace(name=name)
        made.__path__ = []
        monkeypatch.setitem(sys.modules, name, made)

    transfer = "vllm.distributed.weight_transfer"
    module("vllm", LLM=LLM, SamplingParams=SamplingParams)
    module("vllm.distributed")
    names = {"ParamMeta": ParamMeta, "WeightSource": WeightSource}
    module(transfer, WeightTransferTrainerFactory=WeightTransferTrainerFactory, **names)
    module(f"{transfer}.ipc_engine", IPCTrainerInitInfo=IPCTrainerInitInfo)
    module(f"{transfer}.nccl_engine", NCCLTrainerInitInfo=NCCLTrainerInitInfo)
    monkeypatch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "")
    monkeypatch.delenv("VLLM_ALLOW_INSECURE_SERIALIZATION")
    WeightTransferTrainerFactory.made.clear()
    WIRE.clear()
    return LLM


def open_vllm(model, tokenizer, **given):
    return open_sampler(Sampling(backend="vllm", **given), model, tokenizer, model_name="policy", longest=64)


# ------------------------------------------------------------ in this process


def test_each_completion_is_a_request_with_a_seed_of_its_own(fake_vllm, policy, tokenizer):
    sampler = open_vllm(policy, tokenizer, engine={"gpu_memory_utilization": 0.4})
    llm = fake_vllm.made
    assert llm.engine["gpu_memory_utilization"] == 0.4
    assert llm.engine["max_model_len"] == 64
    assert os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] == "1"
    found = drawn(sampler)
    assert llm.calls == ["generate 9"]
    assert [r.prompt for r, *_ in found] == [tuple(p) for p in PROMPTS]
    assert_alike(found, sampler, llm.worker.model)


def assert_alike(found, sampler, model):
    """As every sampler: what hangs on what, ends, log-probabilities."""
    assert completions(drawn(sampler, [PROMPTS[2], PROMPTS[0]], numbers=[2, 0])) == completions([found[2], found[0]])
    every = [*found, *drawn(sampler, seed=8), *drawn(sampler, numbers=[7, 8, 9])]
    assert len({(r.prompt, r.completion) for group in every for r in group}) == 27
    ends = {r.stopped for group in every for r in group}
    assert ends == {True, False}
    for r in chain.from_iterable(every):
        assert r.stopped == (r.completion[-1] == EOS)
        with torch.no_grad():
            logps = model(torch.tensor([[*r.prompt, *r.completion]])).logits[0].log_softmax(-1)
        wanted = logps[range(len(r.prompt) - 1, len(logps) - 1), list(r.completion)]
        assert r.logps == pytest.approx(wanted.tolist(), abs=1e-4)


def test_greedy_is_what_torch_samples(fake_vllm, policy, tokenizer):
    sampler = open_vllm(policy, tokenizer)
    wanted = drawn(TorchSampler(fake_vllm.made.worker.model, EOS, PAD), temperature=0.0)
    assert completions(drawn(sampler, temperature=0.0)) == completions(wanted)


def test_weights_go_by_cuda_ipc_and_change_what_is_sampled(fake_vllm, policy, tokenizer):
    sampler = open_vllm(policy, tokenizer)
    llm = fake_vllm.made
    before = drawn(sampler, temperature=0.0)
    for _ in range(2):
        sampler.update((n, t) for n, t in policy.state_dict().items())
    assert llm.worker.steps == ["init", *["start", "update", "finish"] * 2]
    assert llm.calls == ["generate 9", "reset", "reset"]
    after = completions(drawn(sampler, temperature=0.0))
    assert after == completions(drawn(TorchSampler(policy, EOS, PAD), temperature=0.0)) != completions(before)
    [sender] = WeightTransferTrainerFactory.made
    assert (type(sender.info), sender.info.rank, sender.info.packed) == (IPCTrainerInitInfo, 0, True)
    assert sender.info.packed_buffer_size_bytes == 1 << 30
    sampler.close()
    assert sender.down


def test_weights_travel_in_the_policys_order_and_dtype(fake_vllm, policy, tokenizer):
    sampler = open_vllm(policy, tokenizer)
    sampler.update((n, t.double()) for n, t in policy.state_dict().items())
    announced = WeightTransferTrainerFactory.made[-1].source.metadata  # what was sent is held to it by the stand-in
    plain = policy.state_dict()
    assert [(m.name, m.dtype, m.shape) for m in announced] == [(n, t.dtype, t.shape) for n, t in plain.items()]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w[::-1], r"weights lm_head.weight .* came where model.embed_tokens.weight .* was due; give"),
        (lambda w: w[:-1], r"weights nothing came where lm_head.weight \(\d+, 64\) was due"),
        (lambda w: [*w, ("more", torch.zeros(2))], r"weights more \(2,\) came where nothing was due"),
        (lambda w: [(w[0][0], torch.zeros(3)), *w[1:]], r"weights model.embed_tokens.weight \(3,\) came where"),
    ],
)
def test_weights_of_another_model_are_refused_in_one_line_before_vllm_waits_for_them(
    fake_vllm, policy, tokenizer, change, said
):
    sampler = open_vllm(policy, tokenizer)
    with pytest.raises(TuluError, match=said) as caught:
        sampler.update(change(list(policy.state_dict().items())))
    assert "\n" not in str(caught.value)
    assert fake_vllm.made.worker.steps == []


def test_a_policy_with_adapters_is_sampled_from_as_it_is_merged(fake_vllm, tiny_llama, tokenizer):
    pytest.importorskip("peft")
    injected, sampler_model = opened(tiny_llama), opened(tiny_llama)
    lora.inject(injected, lora.Lora(rank=4, alpha=8.0))
    with torch.no_grad():
        for name, parameter in injected.named_parameters():
            if ".lora_" in name:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    plain = sampler_model.state_dict()
    told = declared(injected)
    assert {n: (t.dtype, t.shape) for n, t in told.items()} == {n: (t.dtype, t.shape) for n, t in plain.items()}
    assert list(told) == list(plain)
    assert all(t.is_meta for t in told.values())  # no copy
    sampler = open_vllm(injected, tokenizer)
    before = drawn(sampler, temperature=0.0)
    weights = lora.merged(injected, injected.state_dict())
    for _ in range(2):
        sampler.update(weights.items())
    sampler_model.load_state_dict(weights)
    after = completions(drawn(sampler, temperature=0.0))
    assert after == completions(drawn(TorchSampler(sampler_model, EOS, PAD), temperature=0.0)) != completions(before)
    with pytest.raises(TuluError, match="base_layer"):
        sampler.update(injected.state_dict().items())


def test_weights_travel_on_the_policys_device_and_are_not_kept(fake_vllm):
    """A policy in pieces is gathered on the CPU; NCCL sends from a GPU alone."""
    sent = []

    class Sends:
        def transfer_info(self, buffer):
            return IPCTrainerInitInfo(rank=0)

        def init_weight_transfer_engine(self, info):
            pass

        def replacing(self, send):
            sent.extend(sampler._transfer.source.iter_full())

    sampler = VLLMSampler(Sends(), torch.nn.Linear(2, 3, device="meta"), EOS)
    sampler.update({"weight": torch.zeros(3, 2, dtype=torch.float64), "bias": torch.zeros(3)}.items())
    assert [(n, t.device.type, t.dtype) for n, t in sent] == [(n, "meta", torch.float32) for n in ("weight", "bias")]
    assert not sampler._transfer.source.weights


@pytest.mark.parametrize(
    ("seen", "device", "shown"),
    [
        (None, "cuda:3", "3"),
        ("4,5,6,7", "cuda:2", "6"),
        ("GPU-a,GPU-b", "cuda:1", "GPU-b"),
        ("", "cuda", "0"),
        ("4,5", "cpu", "4,5"),
    ],
)
def test_each_process_shows_its_engine_its_own_gpu_alone(fake_vllm, monkeypatch, seen, device, shown):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen or "")
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    Colocated({}, model_name="policy", longest=64, device=torch.device(device))
    own = "0" if device == "cpu" else "1"  # a process beside this one, whose CUDA has begun
    assert fake_vllm.made.environment == (shown, own)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_an_engine_leaves_the_models_in_training_most_of_the_gpu_unless_told(fake_vllm, policy, tokenizer):
    open_vllm(policy, tokenizer)
    assert fake_vllm.made.engine["gpu_memory_utilization"] == 0.3


def test_an_engine_that_may_sleep_does_between_calls(fake_vllm, policy, tokenizer):
    sampler = open_vllm(policy, tokenizer, engine={"enable_sleep_mode": True})
    drawn(sampler)
    sampler.update(policy.state_dict().items())
    assert fake_vllm.made.calls == ["sleep", "wake", "generate 9", "sleep", "wake", "reset", "sleep"]


@pytest.mark.parametrize("finish", ["abort", "error", "repetition", None])
def test_an_answer_that_neither_stopped_nor_filled_its_length_is_no_answer(fake_vllm, policy, tokenizer, finish):
    sampler = open_vllm(policy, tokenizer)
    fake_vllm.made.finish = lambda _: finish
    with pytest.raises(TuluError, match=f"vLLM finished an answer of .* tokens with {finish!r}; see its log"):
        drawn(sampler)


def test_a_stop_at_another_token_than_the_eos_is_no_answer(fake_vllm, policy, tokenizer):
    sampler = open_vllm(policy, tokenizer)
    fake_vllm.made.finish = lambda r: "length" if r.stopped else "stop"
    with pytest.raises(TuluError, match="vLLM finished an answer"):
        drawn(sampler)


def test_prompts_without_numbers_are_refused(fake_vllm, policy, tokenizer):
    with pytest.raises(ValueError, match="3 prompts have 1 numbers; give each its own"):
        drawn(open_vllm(policy, tokenizer), numbers=[0])


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_remedy_is_named(policy, tokenizer, serving):
    with pytest.raises(UsageError, match=r"vLLM is not installed; pip install 'tulu-data\[vllm\]'"):
        open_vllm(policy, tokenizer)
    sampler = open_vllm(policy, tokenizer, server=serving().url)  # sampling needs none here
    drawn(sampler)
    with pytest.raises(UsageError, match=r"vLLM is not installed; pip install 'tulu-data\[vllm\]'"):
        sampler.update(policy.state_dict().items())


# ------------------------------------------------------------ served


class Server:
    """`vllm serve` in development mode, as far as it is used. change: of what a path answers."""

    def __init__(self, model, change):
        self.worker, self.change, self.paused, self.asked, self.lock = Worker(model), change, False, [], Lock()
        config = {
            "model_config": {"logprobs_mode": "processed_logprobs"},
            "weight_transfer_config": {"backend": "nccl"},
        }
        self.gives = {
            "/v1/models": {"object": "list", "data": [{"id": "policy", "object": "model", "max_model_len": 64}]},
            "/server_info?config_format=json": {"vllm_config": config, "vllm_env": {}, "system_env": {}},
            "/get_world_size": {"world_size": 2},
        }

    def answer(self, method, path, body):
        if method == "GET":
            return 200, self.gives[path]
        if path == "/v1/completions":
            return (503, {"error": {"message": "paused"}}) if self.paused else (200, self.completion(body))
        if path in ("/pause?mode=wait", "/resume"):
            self.paused = path != "/resume"
        elif path == "/shutdown_weight_transfer_engine":
            self.worker.steps.append("shutdown")
        else:
            assert self.paused or path.startswith("/init")
            steps = {"init_weight_transfer_engine": "init", "start_weight_update": "start", "update_weights": "update"}
            self.worker.took(steps.get(path[1:], "finish"), body)
            assert path[1:] in (*steps, "finish_weight_update")
        return 200, {"message": "done"}

    def completion(self, body):
        assert set(body) <= set(COMPLETION_0_33), body
        assert body["model"] == "policy"
        assert body["return_token_ids"]
        with self.lock:
            r = completed(self.worker.model, body["prompt"], body)
        logprobs = {"token_logprobs": list(r.logps), "tokens": [f"token_id:{t}" for t in r.completion]}
        choice = {"index": 0, "text": "…", "logprobs": logprobs, "finish_reason": "stop" if r.stopped else "length",
                  "stop_reason": None, "token_ids": list(r.completion), "prompt_token_ids": body["prompt"]}  # fmt: skip
        return {"id": "cmpl-1", "object": "text_completion", "created": 0, "model": "policy", "choices": [choice]}


@pytest.fixture
def serving(tiny_llama):
    """Starts servers on free ports of this machine; change: (path, status, body) → another status and body."""
    running = []

    def start(change=lambda path, status, body: (status, body)):
        server = Server(opened(tiny_llama), change)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                server.asked.append(self.path)
                status, reply = server.change(self.path, *server.answer(self.command, self.path, body))
                data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.append((listening, thread))
        return server

    yield start
    for listening, thread in running:
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.mark.parametrize("tail", ["", "/", "/v1"])
def test_a_server_is_asked_for_tokens_and_their_log_probabilities(serving, policy, tokenizer, tail):
    server = serving()
    sampler = open_vllm(policy, tokenizer, server=server.url + tail)
    found = drawn(sampler)
    assert server.asked.count("/v1/completions") == 9
    assert_alike(found, sampler, server.worker.model)
    sampler.close()
    assert server.worker.steps == []


def test_weights_go_to_a_server_by_nccl_while_it_is_paused(fake_vllm, serving, policy, tokenizer):
    server = serving()
    sampler = open_vllm(policy, tokenizer, server=server.url)
    before = completions(drawn(sampler, temperature=0.0))
    for _ in range(2):
        sampler.update(policy.state_dict().items())
    assert server.worker.steps == ["init", *["start", "update", "finish"] * 2]
    after = completions(drawn(sampler, temperature=0.0))
    assert after == completions(drawn(TorchSampler(policy, EOS, PAD), temperature=0.0)) != before
    [sender] = WeightTransferTrainerFactory.made
    assert isinstance(sender.info, NCCLTrainerInitInfo)
    assert (sender.info.rank, sender.info.world_size, sender.info.master_address) == (0, 3, "127.0.0.1")
    sampler.close()
    assert sender.down
    assert server.worker.steps[-1] == "shutdown"


def test_a_server_goes_on_after_an_update_that_failed(fake_vllm, serving, policy, tokenizer, monkeypatch):
    server = serving()
    sampler = open_vllm(policy, tokenizer, server=server.url)

    def broken(_):
        assert server.paused
        raise RuntimeError("NCCL")

    monkeypatch.setattr(WeightTransferTrainerFactory, "send_weights", broken)
    with pytest.raises(RuntimeError, match="NCCL"):
        sampler.update(policy.state_dict().items())
    assert not server.paused


def changed(at, status=200, body=None, **keys):
    """Answers `at` otherwise: wholly, or in some keys of the server's configuration."""

    def change(path, was, reply):
        if not path.startswith(at):
            return was, reply
        return (status, body) if not keys else (was, {"vllm_config": {**reply["vllm_config"], **keys}})

    return change


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (changed("/v1/models", body={"data": [{"id": "a"}, {"id": "b"}]}), UsageError,
         "serves a, b; start it with --served-model-name policy"),
        (changed("/v1/models", body={"data": [{"id": "policy", "max_model_len": 8}]}), UsageError,
         "has room for 8 tokens, and a prompt with its answer may have 64; start it with a larger --max-model-len"),
        (changed("/server_info", 404, {"detail": "Not Found"}), UsageError, "start it as VLLM_SERVER_DEV_MODE=1"),
        (changed("/server_info", model_config={"logprobs_mode": "raw_logprobs"}), UsageError,
         "start it with --logprobs-mode processed_logprobs"),
        (changed("/server_info", weight_transfer_config=None), UsageError, "start it with --weight-transfer-config"),
        (changed("/v1/models", body=b"<html>"), TuluError, "answered with something else than JSON; is it vLLM"),
        (changed("/v1/models", 401, {"error": "no"}), TuluError, "/v1/models: status 401: {\"error\": \"no\"}"),
        (changed("/v1/models", 404, b""), TuluError, "/v1/models: status 404: no reason"),
        (changed("/v1/models", body={}), TuluError, "something else than vLLM's"),
        (changed("/server_info", body={"vllm_config": "text"}), TuluError, "something else than vLLM's"),
        (changed("/v1/completions", 500, {"error": {"message": "out of\nmemory"}}), TuluError, "out of memory"),
        (changed("/v1/completions", body={"choices": []}), TuluError, "without token ids and log-probabilities"),
        (changed("/v1/completions", body={"choices": [{"token_ids": None, "logprobs": None}]}), TuluError,
         "without token ids and log-probabilities; serve the model with vLLM"),
    ],
)  # fmt: skip
def test_a_server_that_is_another_is_refused_in_one_line(serving, policy, tokenizer, change, kind, said):
    server = serving(change)
    with pytest.raises(kind) as caught:
        drawn(open_vllm(policy, tokenizer, server=server.url))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"server {server.url}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named_in_one_line(serving, policy, tokenizer):
    with pytest.raises(TuluError, match=r"server http://127.0.0.1:9: cannot be reached .*; start it with vllm serve"):
        open_vllm(policy, tokenizer, server="http://127.0.0.1:9")


def test_before_a_training_vllm_is_there_and_its_server_answers(fake_vllm, serving):
    check(Sampling(backend="torch"))
    check(Sampling(backend="vllm"))
    server = serving()
    check(Sampling(backend="vllm", server=f"{server.url}/v1"))
    assert server.asked == ["/v1/models"]
    refusing = serving(changed("/v1/models", 401, {"error": "no"}))
    for url, said in (("http://127.0.0.1:9", "refused"), (refusing.url, "Unauthorized")):
        with pytest.raises(UsageError, match=rf"server {url}: does not answer \(.*{said}.*\); start it") as caught:
            check(Sampling(backend="vllm", server=url))
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
@pytest.mark.parametrize("server", [None, "http://127.0.0.1:9"])
def test_before_a_training_vllm_that_is_not_installed_is_named(server):
    check(Sampling(backend="generate"))
    with pytest.raises(UsageError, match=r"vLLM is not installed; pip install 'tulu-data\[vllm\]'"):
        check(Sampling(backend="vllm", server=server))
