"""vLLM as RLVR's engine: in a process beside this one, or as a running `vllm serve`, on GPUs of its own, started as

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs \\
        --weight-transfer-config '{"backend": "nccl"}'

with `--tensor-parallel-size N` where one GPU does not hold the model.

Written against vLLM 0.33's source and never run with it, for want of a GPU: the tests hold the one to that version's
signatures, the other to a server that answers as that source says. A request that fails ends the training, which goes
on from its checkpoint.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch

from trainers.vllm_sampler import Answered, Asked, installed
from tulu_data.errors import TuluError, UsageError

LOGPROBS = "processed_logprobs"  # at the temperature; vLLM's default is before it
SHARE = 0.3  # of the GPU's memory; vLLM's own 0.92 leaves the models in training none
IN_FLIGHT = 256  # requests at once; vLLM makes batches of what it has
TIMEOUT_S = 3_600.0  # for one answer, behind all others
REACHED_S = 10.0  # for a first sign of life
SHOWN = 300  # characters of an error's message


class Colocated:
    """`vllm.LLM` in a process beside this one, on the same GPU. Where it may sleep, it does so between two calls.

    device: the policy's. Every process of a training has its own engine on its own GPU, and no engine has two.
    """

    def __init__(self, engine: Mapping[str, Any], *, model_name: str, longest: int, device: torch.device) -> None:
        installed()
        # CUDA handles are no plain data, and pickled on their way to vLLM's worker, a child of this process.
        os.environ.setdefault("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
        import vllm

        default = {"max_model_len": longest, "gpu_memory_utilization": SHARE}
        own = {"weight_transfer_config": {"backend": "ipc"}, "logprobs_mode": LOGPROBS}
        with _seeing(device):
            self.llm = vllm.LLM(model=model_name, **{**default, **engine, **own})
        self.sleeps = bool(engine.get("enable_sleep_mode"))
        self._rest()

    def _rest(self) -> None:
        if self.sleeps:
            self.llm.sleep(level=1)

    def _wake(self) -> None:
        if self.sleeps:
            torch.cuda.empty_cache()  # what a step's backward pass left to be used again is none of vLLM's
            self.llm.wake_up()

    def complete(self, asked: Sequence[Asked]) -> list[Answered]:
        """One request each."""
        import vllm

        self._wake()
        prompts = [{"prompt_token_ids": prompt} for prompt, _ in asked]
        params = [vllm.SamplingParams(detokenize=False, **how) for _, how in asked]
        outputs = [o.outputs[0] for o in self.llm.generate(prompts, params, use_tqdm=False)]
        self._rest()
        return [
            (o.token_ids, [p[t].logprob for t, p in zip(o.token_ids, o.logprobs, strict=True)], o.finish_reason)
            for o in outputs
        ]

    def transfer_info(self, buffer: int) -> Any:
        """Every process is the sender to its own engine."""
        from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo

        return IPCTrainerInitInfo(rank=0, packed=True, packed_buffer_size_bytes=buffer)

    def replacing(self, send: Callable[[], None]) -> None:
        """Sends weights; what the old ones made of prompts is forgotten."""
        self._wake()
        send()
        self.llm.reset_prefix_cache()
        self._rest()

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """A step of the transfer, as are the next three."""
        self.llm.init_weight_transfer_engine({"init_info": init_info})

    def start_weight_update(self) -> None:
        """Before the first chunk."""
        self.llm.start_weight_update()

    def update_weights(self, update_info: Any) -> None:
        """A chunk."""
        self.llm.update_weights({"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """After the last chunk."""
        self.llm.finish_weight_update(weight_version)

    def close(self) -> None:
        """Ends vLLM's process, which does so when nothing refers to the engine."""
        del self.llm


@contextmanager
def _seeing(device: torch.device) -> Iterator[None]:
    """Shows vLLM's process, which is started within, this GPU alone: it takes the first that it sees.

    This process goes on with those that CUDA found when it began.
    """
    if device.type != "cuda":
        yield
        return
    seen, index = os.environ.get("CUDA_VISIBLE_DEVICES"), device.index or 0
    # In this very process vLLM would find CUDA begun, and be on the first GPU after all.
    shown = {
        "CUDA_VISIBLE_DEVICES": seen.split(",")[index] if seen else str(index),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
    }
    before = {name: os.environ.get(name) for name in shown}
    os.environ.update(shown)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Served:
    """See `vllm_sampler.Engine`. `TuluError` where the server does not answer, `UsageError` where it is another one."""

    def __init__(self, url: str, *, model_name: str, longest: int) -> None:
        self.url, self.model = _base(url), model_name
        self.joined = False
        models, known = self._call("/v1/models"), self._call("/server_info?config_format=json")
        try:
            names = {card["id"]: card.get("max_model_len") for card in models["data"]}
            logprobs = known["vllm_config"]["model_config"]["logprobs_mode"]
            transfer = (known["vllm_config"]["weight_transfer_config"] or {}).get("backend")
        except (KeyError, TypeError, AttributeError):
            raise TuluError(f"server {self.url}: describes itself as something else than vLLM's would") from None
        if problem := self._unfit(names, longest, logprobs, transfer):
            raise UsageError(f"server {self.url}: {problem}")

    def _unfit(self, names: Mapping[str, int | None], longest: int, logprobs: str, transfer: str | None) -> str | None:
        """What the server lacks, and how it is started with it; None where it has all."""
        if self.model not in names:
            return f"serves {', '.join(names) or 'nothing'}; start it with --served-model-name {self.model}"
        room = names[self.model]
        if room is not None and room < longest:
            need = f"a prompt with its answer may have {longest:,}"
            return f"has room for {room:,} tokens, and {need}; start it with a larger --max-model-len"
        if logprobs != LOGPROBS:
            return f"gives log-probabilities before the temperature; start it with --logprobs-mode {LOGPROBS}"
        if transfer != "nccl":
            return """takes no weights by NCCL; start it with --weight-transfer-config '{"backend": "nccl"}'"""
        return None

    def _call(self, path: str, body: dict[str, Any] | None = None, *, post: bool = False) -> Any:
        data = json.dumps(body).encode() if body is not None else b"" if post else None
        request = Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=TIMEOUT_S) as response:
                return json.loads(response.read() or b"null")
        except HTTPError as e:
            with e:
                said = _said(e.read())
            if e.code == 404 and not path.startswith("/v1/"):
                raise UsageError(
                    f"server {self.url}: has no {path}; start it as VLLM_SERVER_DEV_MODE=1 vllm serve …"
                ) from None
            raise TuluError(f"server {self.url}: {path}: status {e.code}: {said}") from None
        except (OSError, HTTPException) as e:  # the second where an answer breaks off
            raise TuluError(
                f"server {self.url}: cannot be reached ({_reason(e)}); start it with vllm serve {self.model}"
            ) from None
        except ValueError:
            raise TuluError(f"server {self.url}: {path}: answered with something else than JSON; is it vLLM?") from None

    def complete(self, asked: Sequence[Asked]) -> list[Answered]:
        """One request each, some hundreds at once."""
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return list(pool.map(self._completed, asked))

    def _completed(self, asked: Asked) -> Answered:
        prompt, how = asked
        # Tokens by number: not every token is text by itself, and JSON has only text.
        numbers = {"return_token_ids": True, "return_tokens_as_token_ids": True}
        reply = self._call("/v1/completions", {"model": self.model, "prompt": prompt, **how, **numbers})
        try:
            [choice] = reply["choices"]
            tokens = [int(t) for t in choice["token_ids"]]
            logps = [float(p) for p in choice["logprobs"]["token_logprobs"]]
        except (KeyError, TypeError, ValueError):
            raise TuluError(
                f"server {self.url}: answers without token ids and log-probabilities; serve the model with vLLM"
            ) from None
        return tokens, logps, choice.get("finish_reason")

    # ------------------------------------------------------------ weights

    def transfer_info(self, buffer: int) -> Any:
        """This process is rank 0, the server's workers follow; they meet where this machine is seen from the server."""
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        place = urlsplit(self.url)
        port = place.port or (443 if place.scheme == "https" else 80)
        with socket.create_connection((place.hostname or "", port)) as way:
            address = way.getsockname()[0]
        with socket.socket() as free:
            free.bind((address, 0))
            meeting = free.getsockname()[1]
        workers = self._call("/get_world_size")["world_size"]
        return NCCLTrainerInitInfo(
            rank=0,
            master_address=address,
            master_port=meeting,
            world_size=1 + workers,
            packed_buffer_size_bytes=buffer,
        )

    def replacing(self, send: Callable[[], None]) -> None:
        """Sends weights while nothing is sampled; a pause also makes vLLM forget what the old ones made of prompts."""
        self._call("/pause?mode=wait", post=True)
        try:
            send()
        finally:
            self._call("/resume", post=True)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """A step of the transfer, as are the next three."""
        self._call("/init_weight_transfer_engine", {"init_info": init_info})
        self.joined = True

    def start_weight_update(self) -> None:
        """Before the first chunk."""
        self._call("/start_weight_update", post=True)

    def update_weights(self, update_info: Any) -> None:
        """Meets the sender's broadcast, and is answered after it."""
        self._call("/update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """After the last chunk."""
        self._call("/finish_weight_update", {"weight_version": weight_version})

    def close(self) -> None:
        """The server goes on, without this process."""
        if self.joined:
            self._call("/shutdown_weight_transfer_engine", post=True)


def reached(url: str) -> None:
    """`UsageError` where no server answers there, and soon."""
    try:
        with urlopen(f"{_base(url)}/v1/models", timeout=REACHED_S):
            pass
    except (OSError, HTTPException) as e:
        if isinstance(e, HTTPError):
            e.close()
        raise UsageError(f"server {_base(url)}: does not answer ({_reason(e)}); start it with vllm serve") from None


def _base(url: str) -> str:
    """As people write it → without the path that OpenAI's clients want."""
    return url.rstrip("/").removesuffix("/v1")


def _reason(error: Exception) -> object:
    return getattr(error, "reason", None) or error


def _said(body: bytes) -> str:
    """An error's message: vLLM's own where it is one."""
    try:
        text = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        text = body.decode(errors="replace")
    return " ".join(text.split())[:SHOWN] or "no reason"
