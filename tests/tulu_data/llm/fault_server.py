"""An OpenAI-compatible chat server that misbehaves as asked, and counts what it was asked.

Run as a program it serves until it is killed: `python fault_server.py PORT '{"faults": {"500": 0.05}}'`. What befalls
the k-th asking of a request hangs on a hash of the seed, the request and k alone: runs can be compared. After
`patience` faulty askings a request is answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import web

FAULTS = (
    "429",  # with Retry-After
    "429-bare",
    "500",
    "hang",
    "drop",  # the connection is closed without an answer
    "truncated",
    "content-type",
    "empty",  # no choices
)
ODD = ("refusal", "cut-off", "ignored")  # answers, but not what was hoped for


def default_answer(request: dict[str, Any]) -> str:
    return f"answer to {request['messages'][-1]['content'] if request['messages'] else 'nothing'}"


@dataclass
class FaultServer:
    """latency_s: of each answer. faults, odd: share of askings by kind. patience: faults in a row for one request."""

    latency_s: float = 0.0
    faults: dict[str, float] = field(default_factory=dict)
    odd: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    patience: int = 1
    answer: Callable[[dict[str, Any]], str | tuple[str, str]] = default_answer  # a text, or that and why it ended
    retry_after_s: float = 0.02
    fatal: tuple[int, dict[str, Any]] | None = None  # a status and body for every request
    rate_headers: dict[str, str] = field(default_factory=dict)
    hang_s: float = 3600.0
    asked: Counter[str] = field(default_factory=Counter)  # request → times
    answered: Counter[str] = field(default_factory=Counter)
    faulty: Counter[str] = field(default_factory=Counter)  # kind → times
    in_flight: int = 0
    most_in_flight: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def kind_of(self, key: str, k: int, shares: dict[str, float]) -> str | None:
        at = int.from_bytes(sha256(f"{self.seed}/{key}/{k}/{sorted(shares)}".encode()).digest()[:6]) / 2**48
        for kind, share in shares.items():
            if at < share:
                return kind
            at -= share
        return None

    async def chat(self, http: web.Request) -> web.StreamResponse:
        request = await http.json()
        key = json.dumps(request, sort_keys=True)
        self.asked[key] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.reply(http, request, key)
        finally:
            self.in_flight -= 1

    async def reply(self, http: web.Request, request: dict[str, Any], key: str) -> web.StreamResponse:
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if self.fatal:
            return web.json_response(self.fatal[1], status=self.fatal[0])
        k = self.asked[key] - 1
        fault = self.kind_of(key, k, self.faults) if k < self.patience else None
        if fault:
            self.faulty[fault] += 1
            return await self.fault(http, fault, request)
        self.answered[key] += 1
        if request.get("stream"):
            return await self.streamed(http, request)
        return web.json_response(self.completion(request, self.kind_of(key, 0, self.odd)), headers=self.rate_headers)

    async def fault(self, http: web.Request, fault: str, request: dict[str, Any]) -> web.StreamResponse:
        if fault.startswith("429"):
            headers = {"Retry-After": str(self.retry_after_s)} if fault == "429" else {}
            body = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
            return web.json_response(body, status=429, headers=headers)
        if fault == "500":
            return web.Response(text="<html>oops</html>", status=500, content_type="text/html")
        if fault == "hang":
            await asyncio.sleep(self.hang_s)
        if fault in ("drop", "hang"):
            assert http.transport is not None
            http.transport.close()
            return web.Response()
        whole = json.dumps(self.completion(request, None))
        if fault == "truncated":
            return web.Response(text=whole[: len(whole) // 2], content_type="application/json")
        if fault == "content-type":
            return web.Response(text="<html>proxy</html>", content_type="text/html")
        return web.json_response(json.loads(whole) | {"choices": []})

    def completion(self, request: dict[str, Any], odd: str | None) -> dict[str, Any]:
        said = self.answer(request)
        text, finish = said if isinstance(said, tuple) else (said, "stop")
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if odd == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
        if odd == "cut-off":
            message["content"], finish = str(text)[:5], "length"
        n = 1 if odd == "ignored" else request.get("n") or 1
        choices = [{"index": i, "message": message, "finish_reason": finish} for i in range(n)]
        if request.get("logprobs") and odd != "ignored":
            for choice in choices:
                choice["logprobs"] = {"content": []}
        usage = {"prompt_tokens": 10, "completion_tokens": 5 * n, "total_tokens": 10 + 5 * n}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": choices,
            "usage": usage,
        }

    async def streamed(self, http: web.Request, request: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        for word in str(self.answer(request)).split(" "):
            delta = {"choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]}
            await response.write(f"data: {json.dumps(delta | {'model': request['model']})}\n\n".encode())
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": request["model"]}
        usage = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}
        for part in (end, usage):
            await response.write(f"data: {json.dumps(part)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def counts(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "asked": self.asked.total(),
                "distinct": len(self.asked),
                "answered": self.answered.total(),
                "repaid": sum(n - 1 for n in self.answered.values()),
                "faulty": self.faulty,
                "most_in_flight": self.most_in_flight,
            }
        )

    # ---------------------------------------------------------------- OpenAI Batch

    async def upload(self, http: web.Request) -> web.Response:
        form = await http.post()
        name = f"file-{len(self.files)}"
        content = form["file"]
        self.files[name] = content.file.read()  # type: ignore[union-attr]
        return web.json_response(
            {"id": name, "object": "file", "purpose": "batch", "filename": "b", "bytes": 1, "created_at": 0}
        )

    async def create_batch(self, http: web.Request) -> web.Response:
        asked = await http.json()
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": "24h",
            "created_at": 0,
            "status": "in_progress",
        }
        return web.json_response(self.batches[name])

    def finish_batch(self, name: str, *, status: str = "completed", answer_share: float = 1.0) -> None:
        """Answers a share of a batch's lines; the rest stands in the error file, as expired."""
        batch = self.batches[name]
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        cut = round(len(lines) * answer_share)
        good = [
            {"custom_id": x["custom_id"], "response": {"status_code": 200, "body": self.completion(x["body"], None)}}
            for x in lines[:cut]
        ]
        bad = [{"custom_id": x["custom_id"], "response": None, "error": {"code": "batch_expired"}} for x in lines[cut:]]
        for field_, found in (("output_file_id", good), ("error_file_id", bad)):
            if found:
                self.files[f"{name}-{field_}"] = "".join(json.dumps(x) + "\n" for x in reversed(found)).encode()
                batch[field_] = f"{name}-{field_}"
        batch["status"] = status

    async def get_batch(self, http: web.Request) -> web.Response:
        return web.json_response(self.batches[http.match_info["id"]])

    async def list_batches(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": list(self.batches.values()), "has_more": False})

    async def content(self, http: web.Request) -> web.Response:
        return web.Response(body=self.files[http.match_info["id"]])

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self.chat),
                web.get("/counts", self.counts),
                web.post("/v1/files", self.upload),
                web.get("/v1/files/{id}/content", self.content),
                web.post("/v1/batches", self.create_batch),
                web.get("/v1/batches", self.list_batches),
                web.get("/v1/batches/{id}", self.get_batch),
            ]
        )
        return app


if __name__ == "__main__":
    port, settings = int(sys.argv[1]), json.loads(sys.argv[2])
    web.run_app(FaultServer(**settings).app(), host="127.0.0.1", port=port, print=None, access_log=None)
