"""Training against TRL and transformers' Trainer: tokens a second and peak memory, on the same work and in one run.

    python benchmarks/train.py --peers FOLDER   # a venv with TRL, made there where there is none; else a temporary one
    python benchmarks/train.py --quick          # a smaller model, fewer steps, one round

Every measured run is a process of its own. Contenders take turns for `--rounds` rounds; printed are medians, and
medians of the ratios round by round. All train the same random Llama in fp32 on the same conversations, of very
different lengths, in the same order, with the same tokens in the loss, AdamW, learning rate and clipping, and neither
log nor save. Clocked are all steps but the first, in CPU-seconds of one thread: other work on the machine hardly
counts. Tokens are those that are not padding. The benchmark fails where a contender's tokens, trained tokens or first
loss are not the others', so all do the same work. One exception: TRL packs ahead of time, so its steps hold other
conversations, and only its rate compares; whether its rows see each other is told by `padding-free`, which has the same
steps. TRL's recomputation of activations, on by default, is off, as it is here; the optimiser is TRL's and Trainer's
default, the fused AdamW, and ours.

Also, of this package alone: packed rows against a conversation a row; memory and time of the cross-entropy in pieces
against all logits at once, with 32,000 words; answers a second of its own sampler against `generate`, with answers of
very different lengths.

On a GPU the matrix products are in bfloat16, memory is that of the device, and tables show the share of the device's
arithmetic too (MFU, 6 × parameters × tokens, without attention). That was not run yet, for want of one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.remove(str(Path(__file__).parent))  # where decontam.py would stand for the package of its name

HERE = Path(__file__).parent
TORCH = "torch==2.13.0"  # before TRL, which would bring another build of it
WORDS = 32_000
SAME_FOR_ALL = {"learning_rate": 3e-4, "beta": 0.1}
SAME, SAME_BFLOAT16 = 1e-3, 2e-2  # between first losses
SFT = {
    "TRL, padded": {"kind": "sft", "split": "whole"},
    "TRL, one at a time": {"kind": "sft", "split": "one"},
    "TRL, padding-free": {"kind": "sft", "split": "whole", "padding_free": True},
    "TRL, packed": {"kind": "sft", "split": "packed", "packing": True},
    "Trainer, padded": {"kind": "trainer", "split": "whole"},
    "ours, packed": {"part": "sft"},
    "ours, one a row": {"part": "sft", "micro_batch": 1},
}
DPO = {
    "TRL, padded": {"kind": "dpo", "split": "whole"},
    "TRL, one at a time": {"kind": "dpo", "split": "one"},
    "ours, packed": {"part": "dpo"},
}
HEAD = {"all logits at once": {"part": "head", "chunked": False}, "ours, in pieces": {"part": "head", "chunked": True}}
ROLLOUTS = {
    "generate": {"part": "rollouts", "sampler": "plain"},
    "generate, our draw": {"part": "rollouts", "sampler": "generate"},
    "ours": {"part": "rollouts", "sampler": "torch"},
}
PARTS = {"sft": SFT, "dpo": DPO, "head": HEAD, "rollouts": ROLLOUTS}
FULL = {"size": 256, "layers": 4, "batch": 8, "steps": 6, "max_length": 512, "row": 4_096, "answers": 64}
QUICK = {"size": 128, "layers": 2, "batch": 4, "steps": 5, "max_length": 512, "row": 2_048, "answers": 32}


# ------------------------------------------------------------ what is trained on


def text(rng: random.Random, size: float) -> str:
    """Words of a few letters, of about as many characters."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < size:
        words.append("".join(rng.choice("abcdefghijklmnop") for _ in range(rng.randint(2, 9))))
    return " ".join(words)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def conversation(rng: random.Random, longest: int) -> list[dict[str, str]]:
    """One or two questions with answers; lengths are log-normal, and cut."""
    size = min(rng.lognormvariate(math.log(longest / 5), 1.0), 0.9 * longest)
    turns = rng.choice((1, 1, 2))
    shares = [(rng.uniform(0.2, 0.6) * size / turns, size / turns) for _ in range(turns)]
    pairs = [(turn("user", text(rng, a)), turn("assistant", text(rng, b - a))) for a, b in shares]
    return [message for pair in pairs for message in pair]


def publish(store: Any, name: str, kind: str, rows: list[dict[str, Any]]) -> None:
    from tulu_data.parquet import ShardWriter
    from tulu_data.rows import finish, to_table

    with store.build(name, kind) as build:
        writer = ShardWriter(build.data, kind)
        writer.write(to_table(kind, [finish(kind, dict(row), source=name) for row in rows]))
        build.publish(writer.close(), writer.tally.logical())


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Writes the model, the versions, and for the peers the same rows in the order of our steps."""
    from trainers.tiny import write_model
    from tulu_data.store import Store

    rng, count, longest = random.Random(0), job["batch"] * job["steps"], job["max_length"]
    write_model(Path(job["model"]), layers=job["layers"], size=job["size"], heads=job["size"] // 64, positions=2_048)
    store = Store(Path(job["store"]))
    publish(store, "sft", "sft", [{"messages": conversation(rng, longest)} for _ in range(count)])
    pairs = []
    for _ in range(count):
        *before, chosen = conversation(rng, longest // 2)[:2]
        rejected = text(rng, min(longest / 3, rng.lognormvariate(math.log(longest / 10), 1.0)))
        pairs.append({"messages": before, "chosen": [chosen], "rejected": [turn("assistant", rejected)]})
    publish(store, "dpo", "preference", pairs)
    steps = range(job["steps"])
    sft = prepared_sft(job)
    examples = [sft.examples.kept[i] for step in steps for i in sft.steps.examples(step)]
    labels = [
        [t if on and i else -100 for i, (t, on) in enumerate(zip(e.tokens.tolist(), e.trainable.tolist(), strict=True))]
        for e in examples
    ]
    rows = [{"input_ids": e.tokens.tolist(), "labels": of} for e, of in zip(examples, labels, strict=True)]
    Path(job["rows"]["sft"]).write_text(json.dumps(rows))
    dpo = prepared_dpo(job)
    ordered = [pairs[i] for step in steps for i in dpo.steps.examples(step)]
    Path(job["rows"]["dpo"]).write_text(
        json.dumps([{("prompt" if k == "messages" else k): v for k, v in r.items()} for r in ordered])
    )
    lengths = sorted(len(e.tokens) for e in examples)
    weights = sum(p.numel() for p in sft.engine.parameters())
    assert len(examples) == len(ordered) == count
    return {"lengths": lengths, "weights": weights - sft.engine.model.get_input_embeddings().weight.numel()}


# ------------------------------------------------------------ this package


def recipe(job: dict[str, Any], stage: str, **own: Any) -> dict[str, Any]:
    import torch

    from trainers.engine import Optimiser
    from trainers.host import Place

    common = {"name": "bench", "stage": stage, "model": job["model"], "mixture": stage, "epochs": 1}
    optimiser = Optimiser(learning_rate=job["learning_rate"], warmup=0.0, max_grad_norm=1.0)
    place = Place(dtype="bfloat16" if torch.cuda.is_available() else "float32")
    sizes = {k: job[k] for k in ("batch", "max_length", "micro_batch") if k in job}
    return {**common, **sizes, "optimiser": optimiser, "place": place, **own}


def prepared_sft(job: dict[str, Any]) -> Any:
    from trainers import sft
    from tulu_data.store import Store

    return sft.prepare(sft.Recipe(**recipe(job, "sft", loss="token_mean")), Store(Path(job["store"])), allow="bench")


def prepared_dpo(job: dict[str, Any]) -> Any:
    from trainers import dpo
    from tulu_data.store import Store

    return dpo.prepare(
        dpo.Recipe(**recipe(job, "dpo", loss="dpo", beta=job["beta"])), Store(Path(job["store"])), allow="bench"
    )


def clock() -> float:
    """Seconds: of this process's one thread on a CPU, which is shared with others; of the wall where a GPU works."""
    import torch

    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def memory_mb(field: str) -> float:
    """The peak (VmHWM) or the present (VmRSS) memory: the device's where there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return (torch.cuda.max_memory_allocated() if field == "VmHWM" else torch.cuda.memory_allocated()) / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1e3


def measured(steps: int, take: Callable[[int], tuple[float, int, int]]) -> dict[str, Any]:
    """take: a step → its loss, tokens, trained tokens."""
    rest, first = memory_mb("VmRSS"), take(0)
    start = clock()
    losses, tokens, trained = zip(*map(take, range(1, steps)), strict=True)
    seconds = clock() - start
    counts = {"tokens": sum(tokens), "trained": sum(trained), "computed": sum(tokens)}
    memory = {"peak_mb": memory_mb("VmHWM"), "rest_mb": rest}
    return {"seconds": seconds, "losses": [first[0], *losses], **counts, **memory}


def run_sft(job: dict[str, Any]) -> dict[str, Any]:
    from trainers import sft

    prepared = prepared_sft(job)

    def take(step: int) -> tuple[float, int, int]:
        examples = [prepared.examples.kept[i] for i in prepared.steps.examples(step)]
        done = prepared.engine.step(step, sft.micro_batches(prepared, examples))
        return done.loss, sum(len(e.tokens) for e in examples), sum(e.trained for e in examples)

    return measured(job["steps"], take)


def run_dpo(job: dict[str, Any]) -> dict[str, Any]:
    from trainers import dpo

    prepared = prepared_dpo(job)
    start = clock()
    reference = dpo.live_reference(prepared)
    reference_s = clock() - start

    def take(step: int) -> tuple[float, int, int]:
        indices = prepared.steps.examples(step)
        done = prepared.engine.step(step, dpo.micro_batches(prepared, indices, reference))
        pairs = [prepared.examples.kept[i] for i in indices]
        return done.loss, sum(p.tokens for p in pairs), sum(p.chosen.trained + p.rejected.trained for p in pairs)

    return {**measured(job["steps"], take), "reference_s": reference_s}


def run_head(job: dict[str, Any]) -> dict[str, Any]:
    """Forward and backward of one row, all of it trained, through a small model with many words."""
    import torch
    from torch.nn import functional as F  # noqa: N812 - its usual name
    from transformers import AutoModelForCausalLM, LlamaConfig

    from trainers import attention
    from trainers.loss import token_nll

    attention.register()
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=WORDS, **sizes, num_key_value_heads=4)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    size = job["row"]
    segments = torch.randint(WORDS, (size // 512, 512)).tolist()

    def take(step: int) -> tuple[float, int, int]:
        model.zero_grad()
        row = attention.packed(segments, model.device)
        hidden, head = model.base_model(**row.arguments).last_hidden_state[0], model.get_output_embeddings().weight
        if job["chunked"]:
            loss = token_nll(hidden, head, row.tokens[0], row.tokens[0] >= 0).mean()
        else:
            loss = F.cross_entropy((hidden[:-1] @ head.T).float(), row.tokens[0, 1:])
        loss.backward()
        return float(loss.detach()), size, size - 1

    return measured(2, take)


def run_rollouts(job: dict[str, Any]) -> dict[str, Any]:
    """Answers of a model that ends one in about 50 tokens; cut at 256."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trainers.rollout import left_padded
    from trainers.samplers import Sampling, open_sampler

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    eos, pad, rng, count = tokenizer.eos_token_id, tokenizer.pad_token_id, random.Random(0), job["answers"]
    head = torch.nn.Linear(*reversed(model.lm_head.weight.shape), device=device)  # with a bias: ends must be likely
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.zero_()[eos] = math.log(5)
    model.lm_head = head
    prompts = [tokenizer(text(rng, rng.randint(10, 120)), add_special_tokens=False)["input_ids"] for _ in range(count)]
    if job["sampler"] == "plain":
        how = {"max_new_tokens": 256, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

        def answers(size: int) -> list[list[int]]:
            torch.manual_seed(job["round"])
            tokens, mask = left_padded(prompts[:size], pad, model.device)
            with torch.no_grad():
                found = model.generate(tokens, attention_mask=mask, eos_token_id=eos, pad_token_id=pad, **how)
            rows = found[:, tokens.shape[1] :].tolist()
            return [row[: row.index(eos) + 1] if eos in row else row for row in rows]
    else:
        sampling = Sampling(backend=job["sampler"], batch=count)
        sampler = open_sampler(sampling, model, tokenizer, model_name=job["model"], longest=512)

        def answers(size: int) -> list[list[int]]:
            asked = {"samples": 1, "max_new_tokens": 256, "seed": job["round"], "temperature": 1.0}
            found = sampler.sample(prompts[:size], numbers=range(size), **asked)
            return [list(r.completion) for (r,) in found]

    answers(2)  # first calls are slower
    rest, start = memory_mb("VmRSS"), clock()
    found = answers(count)
    seconds, sizes = clock() - start, [len(a) for a in found]
    memory = {"peak_mb": memory_mb("VmHWM"), "rest_mb": rest}
    return {"seconds": seconds, "answers": found, "tokens": sum(sizes), **memory}


RUNS = {"prepare": prepare, "sft": run_sft, "dpo": run_dpo, "head": run_head, "rollouts": run_rollouts}


def child(job: dict[str, Any]) -> None:
    import torch
    import transformers

    result = RUNS[job["part"]](job)
    versions = {"transformers": transformers.__version__, "torch": torch.__version__, "python": sys.version.split()[0]}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    print("RESULT", json.dumps({**result, "versions": versions, "gpu": gpu}))


# ------------------------------------------------------------ the other processes


def venv(folder: Path) -> str:
    """The Python of a venv with TRL, made where there is none."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        print(f"installs {TORCH} and trl into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        for packages in ([TORCH], ["trl"]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "made").touch()
    return str(python)


class Runner:
    """Runs a job in a process of its own."""

    def __init__(self, folder: Path, settings: dict[str, Any], peer_python: str) -> None:
        self.folder, self.settings, self.peer_python, self.number = folder, settings, peer_python, 0
        own = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        quiet = {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.environment = os.environ | own | quiet | {"PYTHONPATH": str(HERE.parent)}

    def run(self, contender: dict[str, Any], **more: Any) -> dict[str, Any]:
        self.number += 1
        own = self.folder / f"run-{self.number}"  # what a run caches on disk, no other finds
        own.mkdir()
        job = {**self.settings, **contender, **more, "output": str(own)}
        peer = "kind" in job
        path = own / "job.json"
        path.write_text(json.dumps(job))
        command = (
            [self.peer_python, HERE / "train_trl.py", path] if peer else [sys.executable, __file__, "--child", path]
        )
        environment = self.environment | {"HF_HOME": str(own), "TMPDIR": str(own)}
        if peer:
            del environment["PYTHONPATH"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not found:
            raise SystemExit(f"{contender} failed:\n{done.stdout[-500:]}\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(found[-1].removeprefix("RESULT "))
        return result


# ------------------------------------------------------------ what is printed

Results = dict[str, list[dict[str, Any]]]


def median(results: Results, name: str, of: Callable[[dict[str, Any]], float]) -> float:
    return statistics.median(of(r) for r in results[name])


def ratio(results: Results, name: str, baseline: str, of: Callable[[dict[str, Any]], float]) -> float:
    """Of a contender to the baseline: the median over the rounds."""
    pairs = zip(results[name], results[baseline], strict=True)
    return statistics.median(of(a) / of(b) for a, b in pairs)


def rate(result: dict[str, Any]) -> float:
    return float(result["tokens"] / result["seconds"])


def peak(result: dict[str, Any]) -> float:
    return float(result["peak_mb"])


def grown(result: dict[str, Any]) -> float:
    return float(result["peak_mb"] - result["rest_mb"])


def trained_table(title: str, results: Results, settings: dict[str, Any]) -> None:
    """Rates and memory, to TRL's padded rows (a) and to TRL's fastest (b)."""
    first = next(iter(results))
    fastest = max((n for n in results if n.startswith("TRL")), key=lambda n: median(results, n, rate))
    print(f"\n{title}; medians of {len(results[first])} rounds; a = {first}, b = {fastest}")
    print(f"{'':18}  tokens/s    ×a    ×b  trained/s  padding  peak MB    ×a  MB over rest    ×a", end="")
    print("  reference s" if title == "DPO" else "")
    for name, found in results.items():
        trained = median(results, name, lambda r: r["trained"] / r["seconds"])
        line = f"{name:18}{median(results, name, rate):10,.0f}{ratio(results, name, first, rate):6.2f}"
        line += f"{ratio(results, name, fastest, rate):6.2f}{trained:11,.0f}"
        line += f"{1 - found[0]['tokens'] / found[0]['computed']:9.0%}"
        for of, width in ((peak, 9), (grown, 14)):
            line += f"{median(results, name, of):{width},.0f}{ratio(results, name, first, of):6.2f}"
        if title == "DPO":
            line += f"{median(results, name, lambda r: r['reference_s']):13.1f}"
        if settings["gpu"]:
            line += f"  MFU {6 * settings['weights'] * median(results, name, rate) / settings['peak_flops']:.1%}"
        print(line)


def check_same(results: Results, base: str, tolerance: float) -> None:
    """Fails where the work is not the same; prints how far the losses are from ours."""
    own = results[base][0]
    for name, found in results.items():
        if name == base or "packed" in name:
            continue
        for key in ("tokens", "trained"):
            if found[0][key] != own[key]:
                raise SystemExit(f"{name}: {key} are {found[0][key]:,}, and ours {own[key]:,}: not the same work")
        apart = [abs(a - b) for a, b in zip(found[0]["losses"], own["losses"], strict=True)]
        told = f"first step {apart[0]:.1e}, {len(apart)} steps at most {max(apart):.1e}"
        print(f"loss of {name} from that of {base}: {told}")
        if apart[0] > tolerance:
            raise SystemExit(f"{name}: the first loss is {found[0]['losses'][0]}, ours {own['losses'][0]}")
    shown = " ".join(f"{loss:.4f}" for loss in own["losses"])
    print(f"same tokens and trained tokens ({own['tokens']:,}, {own['trained']:,}); losses of {base}: {shown}")


def head_table(results: Results, settings: dict[str, Any]) -> None:
    first = next(iter(results))
    print(f"\nforward and backward of {settings['row']:,} tokens, {WORDS:,} words")
    for name, found in results.items():
        line = f"{name:20}{median(results, name, grown):8,.0f} MB over rest {ratio(results, name, first, grown):5.2f}"
        print(f"{line}{median(results, name, rate):9,.0f} tokens/s {ratio(results, name, first, rate):5.2f}", end="")
        print(f"  loss {found[0]['losses'][0]:.5f}")


def rollout_table(results: Results, settings: dict[str, Any]) -> None:
    count, first = settings["answers"], next(iter(results))
    print(f"\n{count} answers, a batch; ends drawn by the model, 256 tokens at most")

    def answers(result: dict[str, Any]) -> float:
        return float(count / result["seconds"])

    for name in results:
        size = median(results, name, lambda r: r["tokens"] / count)
        line = f"{name:20}{median(results, name, answers):7.2f} answers/s {ratio(results, name, first, answers):5.2f}"
        line += f"{median(results, name, rate):9,.0f} tokens/s {ratio(results, name, first, rate):5.2f}"
        print(f"{line}   {size:.0f} tokens an answer")
    pairs = zip(results["ours"], results["generate, our draw"], strict=True)
    same = sum(a == b for own, other in pairs for a, b in zip(own["answers"], other["answers"], strict=True))
    print(f"{same} of {count * len(results['ours'])} answers are the same by `ours` and `generate, our draw`")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="the folder of a venv with TRL; made where there is none")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="a smaller model, fewer steps, one round")
    parser.add_argument("--peak-tflops", type=float, default=989, help="of the GPU, for MFU; default: an H100's")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(json.loads(given.child.read_text()))
        return
    rounds = given.rounds or (1 if given.quick else 3)
    with tempfile.TemporaryDirectory(prefix="bench-train-") as temp:
        folder = Path(temp)
        peers = venv(given.peers or folder / "peers") if {"sft", "dpo"} & set(given.parts) else ""
        places = {"model": str(folder / "model"), "store": str(folder / "store")}
        rows = {stage: str(folder / f"{stage}.json") for stage in ("sft", "dpo")}
        settings = {**(QUICK if given.quick else FULL), **SAME_FOR_ALL, **places, "rows": rows}
        runner = Runner(folder, settings, peers)
        made = runner.run({"part": "prepare"})
        lengths, versions = made["lengths"], made["versions"]
        settings |= {"tokens": sum(lengths), "weights": made["weights"], "gpu": made["gpu"]}
        settings["peak_flops"] = given.peak_tflops * 1e12
        cuts = [lengths[int(q * (len(lengths) - 1))] for q in (0, 0.1, 0.5, 0.9, 1)]
        print(f"ours: {versions}; {made['gpu'] or 'CPU, one thread'}; load {os.getloadavg()[0]:.1f}")
        print(f"Llama of {made['weights'] / 1e6:.1f} M weights in products; {len(lengths)} conversations in ", end="")
        print(f"{settings['steps']} steps, tokens at 0, 10, 50, 90, 100 %: {cuts}", flush=True)
        for part in given.parts:
            results: Results = {name: [] for name in PARTS[part]}
            for i in range(rounds):
                for name, contender in PARTS[part].items():
                    results[name].append(found := runner.run(contender, round=i))
                    print(f"{part}, round {i + 1}: {name}, {rate(found):,.0f} tokens/s", file=sys.stderr, flush=True)
            if part in ("sft", "dpo"):
                peer = results["TRL, padded"][0]
                print(f"\npeers: {peer['versions']}; {peer['how']}")
                check_same(results, "ours, packed", SAME_BFLOAT16 if settings["gpu"] else SAME)
                trained_table(part.upper(), results, settings)
            else:
                {"head": head_table, "rollouts": rollout_table}[part](results, settings)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
