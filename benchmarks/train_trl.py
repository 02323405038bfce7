"""A training by TRL or transformers' Trainer on given rows: the other side of `train.py`, run in a venv of its own.

    python benchmarks/train_trl.py JOB.json

Prints what it did and how long that took as one line of JSON. What the batches hold is counted from the batches
themselves, and a step's loss is the sum of what its micro-batches went backwards through.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from datasets import Dataset
from train import clock, memory_mb
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

SETTINGS = {
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "train_sampling_strategy": "sequential",
    "gradient_checkpointing": False,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "max_grad_norm": 1.0,
}  # the optimiser is each trainer's default: AdamW, fused


class Clock(TrainerCallback):
    """From the end of the first step to that of the last."""

    def on_train_begin(self, args, state, control, **_):
        self.rest = memory_mb("VmRSS")

    def on_step_end(self, args, state, control, **_):
        self.last = clock()
        if state.global_step == 1:
            self.first = self.last


def counting(kind):
    """A trainer that keeps, for each micro-batch: its step, loss, tokens that are not padding, tokens in the loss."""

    class Counting(kind):
        def training_step(self, model, inputs, num_items_in_batch=None):
            mask, ids = inputs.get("attention_mask"), inputs["input_ids"]
            in_loss = inputs["completion_mask"] > 0 if "completion_mask" in inputs else inputs["labels"] != -100
            counts = (ids.numel() if mask is None else mask.sum(), in_loss[:, 1:].sum(), ids.numel())
            loss = super().training_step(model, inputs, num_items_in_batch=num_items_in_batch)
            self.seen = [*getattr(self, "seen", []), (self.state.global_step, loss.detach(), *counts)]
            return loss

        def _precompute_ref_logps(self, *given):
            start = clock()
            found = super()._precompute_ref_logps(*given)
            self.reference_s = clock() - start
            return found

    Counting.__name__ = kind.__name__  # which TRL reads
    return Counting


def split_of(job):
    """Rows at once, and how often in a step."""
    if job["split"] == "packed":  # as many packed rows as hold a step's tokens
        return 1, max(1, round(job["tokens"] / job["steps"] / job["max_length"]))
    return (job["batch"], 1) if job["split"] == "whole" else (1, job["batch"])


def trainer_of(job, model, tokenizer, rows):
    per_device, accumulation = split_of(job)
    common = SETTINGS | {
        "output_dir": job["output"],
        "learning_rate": job["learning_rate"],
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 1,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    if job["kind"] == "trainer":
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

        arguments = TrainingArguments(**common)
        return counting(Trainer)(model, arguments, DataCollatorForSeq2Seq(tokenizer), rows, callbacks=[Clock()])
    if job["kind"] == "sft":
        from trl import SFTConfig, SFTTrainer

        own = {k: job[k] for k in ("packing", "padding_free") if k in job}
        longest = None if job.get("padding_free") else job["max_length"]
        kind, arguments = SFTTrainer, SFTConfig(**common, **own, max_length=longest)
    else:
        from trl import DPOConfig, DPOTrainer

        own = {"beta": job["beta"], "loss_type": ["sigmoid"], "precompute_ref_log_probs": True}
        kind, arguments = DPOTrainer, DPOConfig(**common, **own, max_length=job["max_length"])
    given = {"args": arguments, "train_dataset": rows, "processing_class": tokenizer, "callbacks": [Clock()]}
    return counting(kind)(model, **given)


def main():
    job = json.loads(Path(sys.argv[1]).read_text())
    transformers.logging.set_verbosity_error()
    flash = torch.cuda.is_available() and find_spec("flash_attn")
    attention = "flash_attention_2" if flash else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, attn_implementation=attention)
    rows = Dataset.from_list(json.loads(Path(job["rows"]["dpo" if job["kind"] == "dpo" else "sft"]).read_text()))
    trainer = trainer_of(job, model, AutoTokenizer.from_pretrained(job["model"]), rows)
    trainer.train()
    timer = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Clock))
    losses = [0.0] * (trainer.state.global_step)
    for step, loss, *_ in trainer.seen:
        losses[step] += float(loss)
    timed = [tuple(map(int, counts)) for step, _, *counts in trainer.seen if step]
    result = {
        "seconds": timer.last - timer.first,
        "losses": losses,
        "tokens": sum(t for t, _, _ in timed),
        "trained": sum(t for _, t, _ in timed),
        "computed": sum(t for _, _, t in timed),
        "peak_mb": memory_mb("VmHWM"),
        "rest_mb": timer.rest,
        "reference_s": getattr(trainer, "reference_s", None),
        "versions": {name: version(name) for name in ("trl", "transformers", "accelerate", "torch")},
        "how": f"{attention}, {trainer.args.optim.value}",
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
