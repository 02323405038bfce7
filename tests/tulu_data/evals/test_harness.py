"""Responses through lm-evaluation-harness: what a model is sent, what comes back, and what lm-eval makes of it."""

import gc
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tulu_data.errors import InputError, TuluError, UsageError
from tulu_data.evals.harness import chunk_of, respond, responding, until
from tulu_data.evals.lm import Backend, Model, in_process
from tulu_data.evals.lm_tasks import export_tasks, task_manager
from tulu_data.evals.metrics import estimate
from tulu_data.evals.scoring import Judgement, in_order, rows
from tulu_data.evals.task import Decoding, Item, Response, Task
from tulu_data.verifiers.verdict import undecided

pytestmark = [
    pytest.mark.skipif(find_spec("lm_eval") is None, reason="needs tulu-data[eval]"),
]
local = pytest.mark.skipif(not all(map(find_spec, ("torch", "transformers", "accelerate"))), reason="needs torch")
remote = pytest.mark.skipif(find_spec("tenacity") is None, reason="needs lm-eval[api]")
serving = pytest.mark.skipif(not all(map(find_spec, ("fastapi", "uvicorn"))), reason="needs transformers[serving]")

CONVERSATIONS = {
    "one turn": [("user", "What is 2 + 3?")],
    "shots": [("user", "1 + 1"), ("assistant", "So 2."), ("user", "2 + 2"), ("assistant", "So 4."), ("user", "3 + 3")],
    "system": [("system", "You are Tulu."), ("user", "Who are you?")],
    "system and shots": [("system", " Brief. "), ("user", "a"), ("assistant", "b"), ("user", "c")],
    "unicode": [("user", "Größe 日本語 🎉 e\u0301 \u200b\u00a0\u2028x")],
    "spaces": [("user", "  lead and trail  \n"), ("assistant", "\tx \n\n"), ("user", "\n\nend \t ")],
    "empty": [("user", ""), ("assistant", ""), ("user", "")],
    "markup": [("user", "<|assistant|>\n<eos> {{ 7 * 7 }} {% raw %} \\n <b>&amp;</b> \"'")],
}


def item(id_, turns, **more):
    if isinstance(turns, str):
        turns = [("user", turns)]
    return Item(id_, more.pop("subset", None), tuple({"role": r, "content": c} for r, c in turns), "1", **more)


def task(**settings):
    decoding = Decoding(**{"max_tokens": 16, **settings.pop("decoding", {})})
    return Task("t", "T", "dev", "t", list, **{"verifier": "gsm8k", **settings}, decoding=decoding)


ITEMS = [item(name, turns) for name, turns in CONVERSATIONS.items()]


class Echo:
    """Answers with the whole conversation and how often it was asked before."""

    def __init__(self):
        self.asked = []

    def generate(self, messages):
        self.asked.append([(m["role"], m["content"]) for m in messages])
        return f"{len(self.asked) - 1} {messages[-1]['content']}"

    def logp(self, messages, option):
        return -float(len(messages[-1]["content"]) + len(option))


@pytest.fixture(scope="module", autouse=True)
def _leave_no_garbage():
    """Models and failed requests are freed here: CPython 3.11 trips over finalizers that run while it parses a file."""
    yield
    gc.collect()


# ------------------------------------------------------------ a model in this process


def test_responses_come_in_the_order_of_items_and_samples():
    echo = Echo()
    asked = [item("b", "x"), item("a", "y")]
    found = respond(echo, task(decoding={"samples": 2, "temperature": 0.5}), asked)
    assert found == [
        Response("b", 0, "0 x"),
        Response("b", 1, "1 x"),
        Response("a", 0, "2 y"),
        Response("a", 1, "3 y"),
    ]


def test_conversations_arrive_turn_by_turn_and_raw_texts_as_they_are():
    echo = Echo()
    asked = [*ITEMS, item("raw", [("system", "unseen"), ("user", "The text:  ")], chat=False), item("after", "z")]
    found = respond(echo, task(), asked)
    assert [r.id for r in found] == [i.id for i in asked]
    assert sorted(echo.asked) == sorted([*CONVERSATIONS.values(), [("user", "The text:  ")], [("user", "z")]])


def test_options_give_a_log_likelihood_each():
    asked = [
        item("q", "ab", options=(("Yes", True), ("No", False), ("Maybe", False))),
        item("p", "a", options=(("B", True),)),
    ]
    found = respond(Echo(), task(output="options"), asked)
    assert found == [Response("q", 0, "", (-5.0, -4.0, -7.0)), Response("p", 0, "", (-2.0,))]


def test_texts_end_at_the_first_stop_string():
    assert until("a Question: b\n\n c", ["\n\n", "Question:"]) == "a "
    assert until("abc", ["", "x"]) == "abc"
    assert respond(Echo(), task(decoding={"stop": ("yy",)}), [item("a", "xyyz")]) == [Response("a", 0, "0 x")]


class Counting:
    def __init__(self):
        self.total, self.done, self.notes = 0, 0, []

    def task(self, _, total=None):
        from contextlib import nullcontext

        self.total = total
        return nullcontext(self.advance)

    def advance(self, n):
        self.done += n

    def note(self, message):
        self.notes.append(message)


def test_chunks_are_given_as_they_come_and_hold_whole_items():
    echo, progress = Echo(), Counting()
    asked = [item(str(i), "x") for i in range(5)]
    chunks = responding(echo, task(decoding={"samples": 3, "temperature": 1}), asked, chunk=7, progress=progress)
    assert [(r.id, r.sample) for r in next(chunks)] == [("0", 0), ("0", 1), ("0", 2), ("1", 0), ("1", 1), ("1", 2)]
    assert len(echo.asked) == 6
    assert (progress.total, progress.done) == (15, 6)
    assert [len(c) for c in chunks] == [6, 3]
    assert progress.done == 15


def test_an_interruption_leaves_the_chunks_before_it():
    class Breaks(Echo):
        def generate(self, messages):
            if len(self.asked) == 4:
                raise KeyboardInterrupt
            return super().generate(messages)

    kept = []
    with pytest.raises(KeyboardInterrupt):
        kept.extend(iter(responding(Breaks(), task(), [item(str(i), "x") for i in range(9)], chunk=3)))
    assert [r.id for c in kept for r in c] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("model", "chunk"),
    [
        (Backend(kind="openai", model="m", batch=1), 32),
        (Backend(kind="openai", model="m", batch=64), 512),
        (Backend(kind="openai", model="m", batch="auto"), 32),
        ("huggingface 1", 32),
        ("huggingface 16", 128),
        ("huggingface auto", 512),
        ("vllm_causallms auto", 512),
    ],
)
def test_a_chunk_is_some_batches_so_that_an_interruption_costs_little(model, chunk):
    if isinstance(model, Backend):
        assert chunk_of(Model(None, model)) == chunk
        return
    module, batch = model.split()
    made = type("LM", (SimpleNamespace,), {"__module__": f"lm_eval.models.{module}"})
    assert chunk_of(Model(made(batch_size=batch if batch == "auto" else int(batch)))) == chunk


def test_a_model_in_this_process_is_asked_for_32_at_a_time():
    asked = [item(str(i), "x") for i in range(40)]
    assert [len(c) for c in responding(Echo(), task(), asked)] == [32, 8]


# ------------------------------------------------------------ transformers


@pytest.fixture(scope="module")
def hf(tiny_llama):
    return Backend(model=str(tiny_llama), batch=4, device="cpu").open()


@pytest.fixture
def tokenised(hf, monkeypatch):
    """Text → the tokens that the model's `generate` takes for it."""
    seen = {}
    encode = hf.one.tok_batch_encode

    def record(strings, **settings):
        ids, mask = encode(strings, **settings)
        for text, row, present in zip(strings, ids.tolist(), mask.tolist(), strict=True):
            seen[text] = [token for token, there in zip(row, present, strict=True) if there]
        return ids, mask

    monkeypatch.setattr(hf.one, "tok_batch_encode", record)
    return seen


def rendered(hf, turns, *, tokenize=False):
    messages = [{"role": r, "content": c} for r, c in turns]
    found = hf.one.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=tokenize)
    return found["input_ids"] if tokenize else found


@local
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_transformers_is_given_the_template_s_own_tokens(hf, tokenised, name):
    respond(hf, task(), [item("a", CONVERSATIONS[name])])
    text = rendered(hf, CONVERSATIONS[name])
    assert tokenised == {text: rendered(hf, CONVERSATIONS[name], tokenize=True)}
    for _, content in CONVERSATIONS[name]:
        assert content in text


@local
def test_a_raw_text_is_given_without_the_template(hf, tokenised):
    respond(hf, task(), [item("a", "Passage: x\nAnswer: ", chat=False)])
    assert list(tokenised) == ["Passage: x\nAnswer: "]


@local
def test_chats_get_the_template_s_begin_token_or_none_and_raw_texts_the_tokenizer_s(hf, tokenised, monkeypatch):
    from tokenizers.processors import TemplateProcessing

    tokenizer = hf.one.tokenizer
    eos = tokenizer.eos_token_id
    backend = tokenizer.backend_tokenizer
    before = backend.post_processor
    backend.post_processor = TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", eos)])
    try:
        assert tokenizer("x")["input_ids"][0] == eos
        respond(hf, task(), [item("a", "hi")])
        respond(hf, task(), [item("b", "raw", chat=False)])
        monkeypatch.setattr(tokenizer, "chat_template", "{{ eos_token }}" + tokenizer.chat_template)
        respond(hf, task(), [item("c", "ho")])
    finally:
        backend.post_processor = before or TemplateProcessing(single="$A", special_tokens=[])
    chat, raw, begun = tokenised.values()
    assert [tokens.count(eos) for tokens in (chat, raw, begun)] == [0, 1, 1]
    assert hf.one.add_bos_token is None


@local
def test_generation_ends_at_the_tokens_and_the_strings_that_are_asked_for(hf):
    tokenizer = hf.one.tokenizer
    asked = [item("a", "Tell me."), item("b", "Go on.")]
    long = {r.id: r.text for r in respond(hf, task(decoding={"max_tokens": 24}), asked)}
    short = {r.id: r.text for r in respond(hf, task(decoding={"max_tokens": 5}), asked)}
    for id_, text in long.items():
        assert text[:3] == short[id_][:3]
        assert len(tokenizer(text)["input_ids"]) > len(tokenizer(short[id_])["input_ids"])
    stop = next(c for c in long["a"][4:] if c.isascii() and c.isprintable())
    stopped = {r.id: r.text for r in respond(hf, task(decoding={"max_tokens": 24, "stop": (stop,)}), asked)}
    assert stopped == {id_: text.split(stop)[0] for id_, text in long.items()}


@local
def test_samples_at_a_temperature_differ_and_come_again(hf):
    sampled = task(decoding={"temperature": 1.0, "top_p": 0.9, "samples": 4})
    asked = [item("a", "x"), item("b", "y")]
    first, second = (respond(hf, sampled, asked) for _ in range(2))
    assert first == second
    assert len({r.text for r in first}) == 8
    assert len({r.text for r in respond(hf, task(), asked * 2)}) == 2  # greedy


@local
def test_a_temperature_of_nearly_nothing_draws_from_the_whole_vocabulary_and_finds_the_greedy_answer(hf):
    asked = ITEMS[:3]
    cold = respond(hf, task(decoding={"temperature": 1e-4}), asked)
    assert [r.text for r in cold] == [r.text for r in respond(hf, task(), asked)]


@local
def test_what_generate_is_told(hf, monkeypatch):
    told = []
    generate = hf.one.model.generate
    monkeypatch.setattr(hf.one.model, "generate", lambda **k: told.append(k) or generate(**k))
    respond(hf, task(decoding={"max_tokens": 7}), ITEMS[:1])
    respond(hf, task(decoding={"temperature": 0.6, "top_p": 0.95}), ITEMS[:1])
    greedy, sampling = told
    assert (greedy["do_sample"], greedy["repetition_penalty"], "temperature" in greedy) == (False, 1.0, False)
    assert greedy["max_length"] == greedy["input_ids"].shape[1] + 7
    assert {k: sampling[k] for k in ("do_sample", "temperature", "top_p", "top_k")} == {
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 0,
    }


def forward_logp(hf, text, option):
    """The option's tokens under a plain forward pass; white space at the prompt's end is the option's."""
    import torch

    cut = len(text.rstrip())
    before = hf.one.tokenizer(text[:cut], add_special_tokens=False)["input_ids"]
    whole = hf.one.tokenizer(text + option, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logps = hf.one.model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
    return sum(logps[i - 1, whole[i]].item() for i in range(len(before), len(whole)))


OPTIONS = (("Yes", True), ("No", False), (" 日本 is it.", False), ("N", False), ("Yes\n", True))


@local
@pytest.mark.parametrize("chat", [True, False])
def test_options_weigh_what_a_plain_forward_pass_says(hf, chat):
    asked = [item(name, turns, options=OPTIONS, chat=chat) for name, turns in CONVERSATIONS.items() if turns[-1][1]]
    found = respond(hf, task(output="options"), asked)
    for response, one in zip(found, asked, strict=True):
        text = rendered(hf, CONVERSATIONS[one.id]) if chat else one.messages[-1]["content"]
        expected = [forward_logp(hf, text, option) for option, _ in OPTIONS]
        assert response.logps == pytest.approx(expected, abs=1e-4)


@local
def test_progress_counts_each_response(hf):
    for asked in (task(), task(decoding={"temperature": 1, "samples": 2}), task(output="options")):
        progress = Counting()
        respond(
            hf, asked, [item(i.id, CONVERSATIONS[i.id], options=OPTIONS) for i in ITEMS], progress=progress, chunk=5
        )
        assert progress.done == progress.total == len(ITEMS) * asked.decoding.samples
        assert progress.notes == []


@local
def test_nothing_but_responses_goes_to_stdout(hf, capsys):
    respond(hf, task(), ITEMS[:2])
    respond(hf, task(output="options"), [item("a", "b", options=OPTIONS)])
    assert capsys.readouterr() == ("", "")


@local
def test_lm_eval_s_cache_of_responses_can_stand_between(hf, tmp_path):
    from lm_eval.api.model import CachingLM

    before = hf.one.cache_hook
    try:
        cached = CachingLM(hf.one, str(tmp_path / "cache.db"))
        progress = Counting()
        first = respond(cached, task(), ITEMS[:3], progress=progress)
        assert len(cached.dbdict) == 3
        assert progress.done == 3
        hf.one.generate_until, generate = None, hf.one.generate_until
        assert respond(cached, task(), ITEMS[:3]) == first == respond(Model(cached), task(), ITEMS[:3])
        hf.one.generate_until = generate
        cached.dbdict.close()
    finally:
        hf.one.set_cache_hook(before)


# ------------------------------------------------------------ a server


def server(url, model="m", **more):
    return Backend(kind="openai", model=model, base_url=url, **{"batch": 4, **more})


@remote
@local
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_server_is_sent_the_messages_that_render_to_what_transformers_is_given(hf, tokenised, serve, name):
    got = []
    url = serve(answer=lambda request: got.append(request["messages"]) or "an answer").url
    for model in (server(url), hf):
        respond(model, task(), [item("a", CONVERSATIONS[name])])
    assert got == [[{"role": r, "content": c} for r, c in CONVERSATIONS[name]]]
    assert list(tokenised) == [rendered(hf, [(m["role"], m["content"]) for m in got[0]])]


@remote
@pytest.mark.parametrize("batch", [1, 8])
def test_a_server_s_answers_come_in_order_with_a_seed_for_each_sample(serve, batch):
    got = []

    def answer(request):
        got.append(request)
        return f"{request['messages'][-1]['content']}/{request['seed']} STOP rest"

    sampled = task(
        decoding={"temperature": 0.8, "top_p": 0.95, "samples": 3, "stop": ("a1", "b1", "c1", "d1", " STOP")}
    )
    asked = [item(str(i), f"q{i}") for i in range(5)]
    found = respond(server(serve(answer=answer).url, batch=batch), sampled, asked)
    assert [r.text for r in found] == [f"q{i}/{1234 + k}" for i in range(5) for k in range(3)]
    one = got[0]
    assert (one["model"], one["temperature"], one["top_p"], one["max_tokens"]) == ("m", 0.8, 0.95, 16)
    assert one["stop"] == ["a1", "b1", "c1", "d1"]  # what a server may be told at most; the fifth is cut here


@remote
def test_greedy_requests_hold_nothing_that_a_server_need_not_know(serve):
    got = []
    respond(server(serve(answer=lambda r: got.append(r) or "x").url), task(), ITEMS[:1])
    assert set(got[0]) == {"messages", "model", "max_tokens", "temperature", "stop", "seed"}
    assert got[0]["temperature"] == 0


@remote
@pytest.mark.parametrize("batch", [1, 8])
def test_passing_faults_of_a_server_are_outlived_and_told_of_without_the_key(serve, batch, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    faulty = serve(faults={"500": 0.5}, patience=1)
    progress = Counting()
    found = respond(
        server(faulty.url, batch=batch), task(), [item(str(i), f"q{i}") for i in range(8)], progress=progress
    )
    assert [r.text for r in found] == [f"answer to q{i}" for i in range(8)]
    assert faulty.faulty["500"] > 0
    (note,) = progress.notes
    assert note.startswith("lm-eval: API request failed")
    assert "sk-secret" not in note


@remote
@local
@serving
@pytest.mark.slow
def test_transformers_and_a_real_server_read_the_same_tokens_and_answer_alike(served):
    url, name = served
    told = Path(name) / "asked.jsonl"
    model = Backend(model=name, batch=1, device="cpu").open()
    encode = model.one.tok_batch_encode
    for one in ITEMS:
        seen = []
        model.one.tok_batch_encode = lambda strings, seen=seen, **k: seen.append(encode(strings, **k)) or seen[-1]
        before = told.read_text().splitlines() if told.exists() else []
        here, there = (respond(m, task(), [one]) for m in (model, server(url, name, batch=1)))
        assert here == there, one.id
        (ids,) = map(json.loads, told.read_text().splitlines()[len(before) :])
        assert ids == seen[0][0][0].tolist(), one.id


class Completions(BaseHTTPRequestHandler):
    """/v1/completions of the tiny model, with `echo` and log-probabilities, as vLLM has it."""

    hf = None
    got = ()

    def do_POST(self):
        import torch

        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.got.append((self.path, asked, self.headers["Authorization"]))
        choice = {"index": 0, "text": "an answer"}
        if asked.get("echo"):
            tokens = asked["prompt"][0] if isinstance(asked["prompt"][0], list) else asked["prompt"]
            with torch.no_grad():
                logps = self.hf.one.model(torch.tensor([tokens])).logits[0].float().log_softmax(-1)
            each = [None, *(logps[i - 1, t].item() for i, t in enumerate(tokens) if i), -1.0]
            choice["logprobs"] = {"token_logprobs": each, "top_logprobs": [{"x": p} for p in each]}
        body = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def completions(hf):
    Completions.hf, Completions.got = hf, []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Completions)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/v1", Completions.got
    running.shutdown()
    running.server_close()
    thread.join()


@remote
@local
@pytest.mark.parametrize("batch", [1, 4])
def test_a_server_weighs_options_as_transformers_does(hf, completions, tiny_llama, batch):
    url, got = completions
    asked = [item(name, turns, options=OPTIONS) for name, turns in CONVERSATIONS.items()]
    there = respond(server(url, tokenizer=str(tiny_llama), batch=batch), task(output="options"), asked)
    here = respond(hf, task(output="options"), asked)
    for a, b in zip(there, here, strict=True):
        assert (a.id, a.logps) == (b.id, pytest.approx(b.logps, abs=1e-4))
    assert {path for path, *_ in got} == {"/v1/completions"}


@remote
@local
def test_a_raw_text_goes_to_a_server_s_completions_and_chats_may_be_rendered_here(
    hf, completions, tiny_llama, monkeypatch
):
    url, got = completions
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    long = "word " * 3_000
    respond(server(url), task(), [item("raw", long, chat=False)])
    shots = CONVERSATIONS["system and shots"]
    long_answers = task(decoding={"max_tokens": 4_096})  # lm-eval cuts prompts at 2,048 tokens less these
    respond(server(url, chat=False, tokenizer=str(tiny_llama)), long_answers, [item("chat", shots)])
    (_, raw, key), (_, chat, _) = got
    assert raw["prompt"] in (long, [long])
    assert chat["prompt"] in (rendered(hf, shots, tokenize=True), [rendered(hf, shots, tokenize=True)])
    assert key == "Bearer sk-secret"


# ------------------------------------------------------------ faults, in one line


def said(kind, work):
    with pytest.raises(kind) as caught:
        work()
    message = str(caught.value)
    assert isinstance(caught.value, TuluError)
    assert "\n" not in message
    return message


@local
def test_a_model_without_a_chat_template_is_for_raw_texts_only(hf, monkeypatch):
    monkeypatch.setattr(hf.one.tokenizer, "chat_template", None)
    assert "t: the model's tokenizer has no chat template" in said(UsageError, lambda: respond(hf, task(), ITEMS[:1]))
    assert respond(hf, task(), [item("a", "raw", chat=False)])


@local
def test_a_template_that_refuses_or_drops_a_turn_is_refused(hf, monkeypatch):
    refusing = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% endfor %}hi"
    )
    asked = [item("a", CONVERSATIONS["system"])]
    for template in (refusing, "{{ messages[-1].content }}"):
        monkeypatch.setattr(hf.one.tokenizer, "chat_template", template)
        assert "takes no system turn" in said(UsageError, lambda: respond(hf, task(), asked))
    monkeypatch.setattr(hf.one.tokenizer, "chat_template", "{{ raise_exception('roles must alternate') }}")
    assert "a: the model's chat template refuses" in said(UsageError, lambda: respond(hf, task(), [item("a", "x")]))


TOO_MANY = (
    "t: max_tokens 4,096 leaves no room for a prompt in the model's context of 512 tokens; give fewer with --max-tokens"
)


@local
def test_more_tokens_than_the_context_has_are_refused_before_anything_is_asked(hf):
    message = said(UsageError, lambda: respond(hf, task(decoding={"max_tokens": 4096}), ITEMS))
    assert message == TOO_MANY


def test_more_tokens_than_the_context_has_are_refused_under_vllm_too():
    class VLLM:
        max_length = 512

    VLLM.__module__ = "lm_eval.models.vllm_causallms"
    assert said(UsageError, lambda: respond(VLLM(), task(decoding={"max_tokens": 4096}), ITEMS)) == TOO_MANY


@local
def test_a_prompt_that_is_cut_short_is_told_of(hf):
    progress = Counting()
    respond(hf, task(), [item("a", "x" * 600), item("b", "y" * 700)], progress=progress, chunk=1)
    (note,) = progress.notes
    assert note.startswith("lm-eval: Left truncation applied. ")
    assert note.endswith(" Fewer --max-tokens leave more room for a prompt.")


def test_a_prompt_that_is_cut_short_under_vllm_is_told_of():
    from lm_eval.models.utils import maybe_truncate

    class VLLM:
        max_length = 24

        def apply_chat_template(self, messages):
            return messages[-1]["content"]

        def generate_until(self, requests, disable_tqdm=False):
            return [str(maybe_truncate(list(r.args[0]), r.args[1]["max_gen_toks"], self.max_length)) for r in requests]

    VLLM.__module__ = "lm_eval.models.vllm_causallms"  # which cuts prompts by this function
    progress = Counting()
    respond(VLLM(), task(), [item("a", "x" * 60), item("b", "y" * 70)], progress=progress, chunk=1)
    (note,) = progress.notes
    assert note.startswith("lm-eval: Context length (60) + max_gen_toks (16) = 76 exceeds model's max length (24)")
    assert note.endswith(" Fewer --max-tokens leave more room for a prompt.")


@local
def test_a_model_that_is_not_there(tmp_path):
    message = said(InputError, Backend(model=str(tmp_path / "none"), device="cpu").open)
    assert message.startswith(f"model {tmp_path / 'none'}: cannot be opened: ")
    assert "cannot be opened" in said(InputError, Backend(model=str(tmp_path), device="cpu", args={"nope": 1}).open)


def test_a_backend_that_is_not_installed(monkeypatch):
    from tulu_data.evals import lm

    monkeypatch.setattr(lm, "find_spec", lambda name: None if name in ("vllm", "accelerate") else name)
    assert said(UsageError, Backend(kind="vllm", model="m").open).endswith("pip install 'tulu-data[eval,vllm]'")
    assert (
        said(UsageError, Backend(model="m").open) == "hf: accelerate not installed; pip install 'tulu-data[eval,train]'"
    )
    monkeypatch.setattr(lm, "find_spec", lambda name: None)
    assert said(UsageError, Backend(model="m").open).endswith("pip install 'tulu-data[eval]'")


@remote
def test_a_server_that_is_down():
    message = said(InputError, server("http://127.0.0.1:9/v1").open)
    assert message.startswith("http://127.0.0.1:9/v1: no server answers (")


@remote
@pytest.mark.parametrize("batch", [1, 4])
def test_a_server_that_refuses_says_why(serve, batch):
    refusing = serve(fatal=(404, {"error": {"message": "The model `m` does not exist."}}))
    backend = server(refusing.url, batch=batch, args={"max_retries": 1})
    message = said(InputError, lambda: respond(backend, task(), ITEMS[:1]))
    assert "The model `m` does not exist." in message
    assert refusing.url in message


@remote
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("fault", ["empty", "truncated", "content-type", "drop"])
def test_a_server_that_answers_nonsense_gives_one_line_and_no_empty_answers(serve, fault, batch):
    backend = server(serve(faults={fault: 1.0}, patience=99).url, batch=batch, args={"max_retries": 1})
    said(InputError, lambda: respond(backend, task(), ITEMS[:3]))


@remote
@pytest.mark.parametrize("batch", [1, 4])
def test_a_reply_that_is_an_error_is_no_empty_answer(serve, batch):
    running = serve()
    running.completion = lambda *_: {"error": {"message": "overloaded"}}
    message = said(InputError, lambda: respond(server(running.url, batch=batch), task(), ITEMS[:3]))
    assert "its reply is no completion" in message


def test_an_object_that_cannot_weigh_options():
    class Mute:
        def generate(self, messages):
            return ""

    asked = [item("a", "b", options=OPTIONS)]
    assert "Mute has no logp" in said(UsageError, lambda: respond(Mute(), task(output="options"), asked))


# ------------------------------------------------------------ tasks that lm-eval runs itself


class Knows:
    """Answers 1 where the question asks for it, and keeps its prompts."""

    def __init__(self):
        self.asked = []

    def generate(self, messages):
        self.asked.append([dict(m) for m in messages])
        return "So 1." if "right" in messages[-1]["content"] else "So 2."

    def logp(self, messages, option):
        self.asked.append([dict(m) for m in messages])
        return {"A": -1.0, " B": -2.0}[option]


def evaluated(folder, names, model):
    import lm_eval

    return lm_eval.simple_evaluate(
        model=in_process(model),
        tasks=names,
        task_manager=task_manager(folder),
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
        log_samples=True,
    )


@pytest.fixture
def offline(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of lm-eval and what it calls
def test_exported_tasks_ask_and_score_in_lm_eval_as_they_do_here(tmp_path, offline):
    right, wrong = item("r", "right?"), item("w", CONVERSATIONS["system and shots"], subset="s")
    raw = item("raw", "right, raw:  ", chat=False, subset="s")
    choice = item("o", CONVERSATIONS["shots"], options=(("A", True), (" B", False)))
    tasks = [
        (task(), [right, wrong, raw, *ITEMS]),
        (replace(task(), id="macro-1", metric="macro"), [right, wrong, raw]),
        (replace(task(decoding={"samples": 12, "temperature": 0.8}), id="pass", metric="pass_at_10"), [right, wrong]),
        (replace(task(), id="judged", verifier=None, judge="safety"), [right]),
        (replace(task(), id="mc", output="options", metric="mc2", verifier=None), [choice]),
    ]
    names = export_tasks(tasks, tmp_path / "tasks")
    assert names == ["tulu_t", "tulu_macro_1", "tulu_pass", "tulu_judged", "tulu_mc"]
    theirs, ours = Knows(), Knows()
    found = evaluated(tmp_path / "tasks", names, theirs)
    for one, items in tasks:
        respond(ours, one, items)
    key = json.dumps
    assert sorted(map(key, theirs.asked)) == sorted(map(key, ours.asked))
    scores = {name: found["results"][name].get("score,all", found["results"][name].get("score,none")) for name in names}
    assert scores["tulu_t"] == pytest.approx(2 / 11)
    assert scores["tulu_macro_1"] == pytest.approx((1 + 0.5) / 2)
    assert scores["tulu_pass"] == 0.5
    assert scores["tulu_mc"] == pytest.approx(1 / (1 + 2.718281828**-1))
    assert [s["resps"] for s in found["samples"]["tulu_judged"]] == [[["So 1."]]]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("metric", "samples"), [("mean", 2), ("macro", 2), ("pass_at_10", 12), ("pass_at_10", 9)])
def test_what_could_not_be_judged_is_left_out_of_exported_tasks_as_it_is_here(
    tmp_path, offline, monkeypatch, metric, samples
):
    import tulu_data.verifiers

    sure = tulu_data.verifiers.verify
    hangs = ("hangs", "hangs at first 0", "hangs at first 1", "hangs at first 2")
    monkeypatch.setattr(
        tulu_data.verifiers, "verify", lambda v, text, t: undecided("it hangs") if text in hangs else sure(v, text, t)
    )
    one = replace(task(decoding={"samples": samples, "temperature": 0.5}), metric=metric)
    questions = {"right": "r", "wrong": "w", "hangs": "h", "right?": "r", "hangs at first": "r"}
    items = [item(q, q, subset=subset) for q, subset in questions.items()]

    class Answers:
        count = 0

        def generate(self, messages):
            question = messages[-1]["content"]
            self.count += question == "hangs at first"
            return f"{question} {self.count - 1}" if question == "hangs at first" else ANSWERS.get(question, question)

    (name,) = export_tasks([(one, items)], tmp_path)
    theirs = evaluated(tmp_path, [name], Answers())["results"][name]
    pairs = in_order(one, items, respond(Answers(), one, items))
    judged = [tulu_data.verifiers.verify("gsm8k", response.text, "1") for _, response in pairs]
    ours = estimate(rows(pairs, [Judgement(v.score if v.valid else None, "") for v in judged]), metric)
    assert theirs.get("score,all") == (None if ours.value is None else pytest.approx(ours.value))
    assert theirs.get("sample_len", 0) == ours.n
    assert (ours.value is None) is (samples == 9)


ANSWERS = {"right": "So 1.", "right?": "So 1.", "wrong": "So 2."}


def test_options_without_a_likelihood_have_no_score_in_exported_tasks():
    from tulu_data.evals import conversation  # draws lm-eval in

    row = {"right": [True, False]}
    assert conversation.mc2(row, [(-1.0, False), (-1.0, False)]) == {"score": 0.5}
    assert conversation.mc2(row, [(float("nan"), False), (-1.0, False)]) == {}
    assert conversation.mc2(row, [(float("-inf"), False), (float("-inf"), False)]) == {}


@pytest.mark.slow
@local
@pytest.mark.filterwarnings("default")
def test_an_exported_folder_can_be_moved_and_gives_transformers_the_same_text(tmp_path, offline, hf, monkeypatch):
    (name,) = export_tasks([(task(), ITEMS)], tmp_path / "made")
    (tmp_path / "made").rename(tmp_path / "moved")
    assert task_manager(tmp_path / "moved").all_subtasks == [name]
    import lm_eval

    settings = {"task_manager": task_manager(tmp_path / "moved"), "apply_chat_template": True, "bootstrap_iters": 0}
    found = lm_eval.simple_evaluate(model=hf.one, tasks=[name], **settings)
    prompts = [s["arguments"][0][0] for s in found["samples"][name]]
    assert prompts == [rendered(hf, turns) for turns in CONVERSATIONS.values()]
    theirs = [s["resps"][0][0] for s in found["samples"][name]]
    assert theirs == [r.text for r in respond(hf, task(), ITEMS)]


def test_a_task_without_items_is_not_exported(tmp_path):
    assert (
        said(InputError, lambda: export_tasks([(task(), [])], tmp_path)) == "t: no items to export; is its suite there?"
    )
