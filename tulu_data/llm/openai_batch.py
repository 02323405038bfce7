"""OpenAI's Batch API: half the price, an answer within a day. Submit, poll and fetch are separate steps.

What was submitted stands in `batches.json` beside the journal, and each input file lies there too, so a step that was
cut off goes on without submitting anything twice. Answers come into the same journal as those of the client. Batches
that expired are read to the end, output and error file both; what they leave open the next submit submits again.
Source: https://platform.openai.com/docs/guides/batch (limits: 50,000 requests and 200 MB a file).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tulu_data.errors import InputError
from tulu_data.llm.client import Stopped
from tulu_data.llm.endpoint import Endpoint
from tulu_data.llm.journal import Entry, Journal
from tulu_data.llm.prices import Price, price_of
from tulu_data.llm.request import CHAT, Failure, Request, answer_of

MAX_REQUESTS = 50_000
MAX_BYTES = 190 << 20  # a little below what is allowed
DISCOUNT = 0.5
OVER = ("completed", "expired", "cancelled", "failed")


@dataclass
class Batches:
    """The batches of a run's folder."""

    folder: Path
    endpoint: Endpoint
    journal: Journal
    price: Price | None = None
    failures: list[Failure] = field(default_factory=list)

    @property
    def _path(self) -> Path:
        return self.folder / "batches.json"

    @cached_property
    def known(self) -> list[dict[str, Any]]:
        """What was submitted: `input`, `requests`, `file`, `batch`, `status`, `fetched`."""
        if not self._path.exists():
            return []
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return [dict(b) for b in found]
        except (ValueError, TypeError):
            raise InputError(f"{self._path}: is damaged; restore it, for it says what was paid for") from None

    def _save(self) -> None:
        part = self._path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(self.known, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)

    @cached_property
    def _client(self) -> Any:
        import openai

        return openai.OpenAI(base_url=self.endpoint.url, api_key=self.endpoint.key or "none", max_retries=5)

    def submit(self, requests: Iterable[Request]) -> int:
        """Submits what neither the journal answers nor a batch is at work on; how many requests that is."""
        self._finish_submitting()
        pending = self._pending()
        open_ = (r for r in requests if r.key not in pending and r.key not in self.journal)
        count = 0
        for lines in _files(open_):
            name = f"batch-{len(self.known):04}.jsonl"
            (self.folder / name).write_bytes(b"".join(lines))
            self.known.append(
                {"input": name, "requests": len(lines), "file": None, "batch": None, "status": None, "fetched": False}
            )
            self._save()
            self._finish_submitting()
            count += len(lines)
        return count

    def _finish_submitting(self) -> None:
        """Uploads and creates what is not yet; a batch made just before a crash is found, not made again."""
        for batch in self.known:
            with self._asking():
                if batch["file"] is None:
                    with (self.folder / batch["input"]).open("rb") as file:
                        batch["file"] = self._client.files.create(file=file, purpose="batch").id
                    self._save()
                if batch["batch"] is None:
                    made = self._made_of(batch["file"]) or self._client.batches.create(
                        input_file_id=batch["file"], endpoint="/v1" + CHAT, completion_window="24h"
                    )
                    batch["batch"], batch["status"] = made.id, made.status
                    self._save()

    def _made_of(self, file: str) -> Any | None:
        return next((b for b in self._client.batches.list(limit=100) if b.input_file_id == file), None)

    def _pending(self) -> set[str]:
        keys = set()
        for batch in self.known:
            if not batch["fetched"]:
                with (self.folder / batch["input"]).open("rb") as file:
                    keys |= {json.loads(line)["custom_id"] for line in file}
        return keys

    def poll(self) -> list[dict[str, Any]]:
        """Asks how far the batches are; all that were submitted."""
        for batch in self.known:
            if batch["batch"] is not None and not batch["fetched"]:
                with self._asking():
                    batch["status"] = self._client.batches.retrieve(batch["batch"]).status
        self._save()
        return self.known

    def fetch(self) -> int:
        """Takes the answers of batches that are over into the journal; how many answers.

        `failures` then holds what was refused. A batch that failed as a whole is in it as one.
        """
        count = 0
        for batch in self.known:
            if batch["fetched"] or batch["batch"] is None:
                continue
            with self._asking():
                state = self._client.batches.retrieve(batch["batch"])
                batch["status"] = state.status
                if state.status not in OVER:
                    continue
                if state.status == "failed":
                    said = [e.message for e in (state.errors.data or [])] if state.errors else []
                    self.failures.append(Failure(batch["batch"], "; ".join(map(str, said)) or "failed", None, 1))
                for name in (state.output_file_id, state.error_file_id):
                    if name:
                        count += self._take(self._client.files.content(name).content)
            batch["fetched"] = True
            self._save()
        self._save()
        return count

    def _take(self, content: bytes) -> int:
        count = 0
        for line in content.splitlines():
            found = json.loads(line)
            key, response = found["custom_id"], found.get("response") or {}
            body = response.get("body")
            if response.get("status_code") != 200 or not isinstance(body, dict):
                error = found.get("error") or (body or {}).get("error") or {}
                reason = str(error.get("message") or error.get("code") or f"status {response.get('status_code')}")
                self.failures.append(Failure(key, reason, response.get("status_code"), 1))
            elif key not in self.journal:
                self.journal.keep(Entry(key, self.endpoint.url, 1, self._usd(body), body))
                count += 1
        return count

    def _usd(self, body: dict[str, Any]) -> float | None:
        price = self.price or price_of(str(body.get("model")))
        answer = answer_of(Request("", ()), body, endpoint="", attempts=1, usd=None)
        return price.of(answer.usage, share=DISCOUNT) if price else None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """One line for what the API refuses."""
        import openai

        try:
            yield
        except openai.OpenAIError as e:
            text = " ".join(str(e).split())[:300]
            raise Stopped(f"{self.endpoint.url}: {text}; what was submitted and fetched is kept") from None


def _files(requests: Iterable[Request]) -> Iterator[list[bytes]]:
    """Requests as lines of input files of the allowed size; equal requests once."""
    lines: list[bytes] = []
    size, met = 0, set()
    for request in requests:
        if request.key in met:
            continue
        met.add(request.key)
        line = {"custom_id": request.key, "method": "POST", "url": "/v1" + CHAT, "body": request.body}
        text = (json.dumps(line, ensure_ascii=False) + "\n").encode()
        if lines and (len(lines) == MAX_REQUESTS or size + len(text) > MAX_BYTES):
            yield lines
            lines, size = [], 0
        lines.append(text)
        size += len(text)
    if lines:
        yield lines
