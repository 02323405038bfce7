"""One OpenAI-compatible endpoint: a request goes out once, and what came back is told apart.

The transport is openai's client over aiohttp, without its own retries: who retries, and when, is the limiter's to say.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tulu_data.errors import UsageError
from tulu_data.llm.limiter import Limiter

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_URL = "https://api.openai.com/v1"
SHOWN = 300  # characters of an error's message

# What a failed try means:
# again: another try may help, and this one counts. later: the endpoint is full; the try does not count.
# never: this request cannot be answered. stop: nothing can (the key, the quota, the model).
Meaning = Literal["again", "later", "never", "stop"]


class Trouble(Exception):
    """A try without an answer."""

    def __init__(
        self,
        meaning: Meaning,
        reason: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        unreached: bool = False,
        broken: bool = False,
    ) -> None:
        super().__init__(reason)
        self.meaning, self.reason, self.status, self.retry_after_s = meaning, reason, status, retry_after_s
        self.unreached = unreached  # nobody took the request
        self.broken = broken or unreached  # the connection is at fault, not what came over it


class Reply(NamedTuple):
    """What came back: the body as JSON, and its headers."""

    body: dict[str, Any]
    headers: Mapping[str, str]


@dataclass
class Endpoint:
    """Where requests go. key: None takes OPENAI_API_KEY; a local server needs none."""

    url: str = DEFAULT_URL
    key: str | None = None
    max_in_flight: int = 256
    rpm: float | None = None
    tpm: float | None = None
    limiter: Limiter = field(init=False)
    _client: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UsageError(f"base URL {self.url!r}: write it as http://HOST:PORT/v1 or https://HOST/v1")
        self.url = self.url.rstrip("/")
        self.limiter = Limiter(self.max_in_flight, self.rpm, self.tpm)
        self.key = self.key or os.environ.get(KEY_VARIABLE)
        if not self.key and self.url == DEFAULT_URL:
            raise UsageError(f"{self.url}: needs a key; set {KEY_VARIABLE}, or name another server with --base-url")

    async def open(self, timeout_s: float) -> None:
        """Makes the client, of this event loop."""
        import httpx2
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self.limiter = Limiter(self.max_in_flight, self.rpm, self.tpm)  # its waiters belong to one loop
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self.max_in_flight)
        http = DefaultAioHttpClient(timeout=timeout_s, limits=limits)
        self._client = AsyncOpenAI(
            base_url=self.url, api_key=self.key or "none", max_retries=0, timeout=timeout_s, http_client=http
        )

    async def close(self) -> None:
        """Closes its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def post(self, path: str, body: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """One try. `Trouble` where it brings no JSON object."""
        import httpx2
        import openai

        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.post(path, body=body, cast_to=httpx2.Response)
                content = response.content
        except TimeoutError:
            raise Trouble("again", f"no answer within {timeout_s:g} s", status=408) from None
        except openai.APIStatusError as e:
            raise _status_trouble(e.status_code, e.body, e.response.headers) from None
        except openai.APIConnectionError as e:
            # A refused connection arrives as a time-out of connecting.
            unreached = any(type(c).__name__.startswith("ClientConnector") for c in _causes(e))
            if isinstance(e, openai.APITimeoutError) and not unreached:
                raise Trouble("again", f"no answer within {timeout_s:g} s", status=408) from None
            what = "cannot be reached" if unreached else "the connection broke"
            raise Trouble("again", f"{what}: {_root(e)}", unreached=unreached, broken=True) from None
        except (OSError, httpx2.HTTPError) as e:
            raise Trouble("again", f"the connection broke: {_root(e)}", broken=True) from None
        try:
            found = assembled(content) if body.get("stream") else json.loads(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            kind = response.headers.get("content-type", "no content type")
            raise Trouble(
                "again", f"a reply that is no JSON ({kind}): {_line(content.decode('utf-8', 'replace'))}"
            ) from None
        if not isinstance(found, dict):
            raise Trouble("again", f"a reply that is no JSON object: {_line(str(found))}")
        return Reply(found, response.headers)


def _status_trouble(status: int, body: object, headers: Mapping[str, str]) -> Trouble:
    error = body if isinstance(body, dict) else {}
    code = str(error.get("code") or error.get("type") or "")
    message = _line(str(error.get("message") or body or "no message"))
    reason = f"{status}: {message}"
    if code == "insufficient_quota":
        return Trouble("stop", f"the quota is used up ({message})", status=status)
    if status in (401, 403):
        return Trouble("stop", f"the key is not accepted ({reason})", status=status)
    if status == 404 or code == "model_not_found":
        return Trouble("stop", f"no such model or address ({reason})", status=status)
    if status == 429:
        return Trouble("later", reason, status=status, retry_after_s=_retry_after(headers))
    if status in (408, 409, 425) or status >= 500:
        return Trouble("again", reason, status=status, retry_after_s=_retry_after(headers))
    return Trouble("never", reason, status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, min(600.0, float(headers.get(name, "")) / unit))
        except ValueError:
            continue
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _root(error: BaseException) -> str:
    *_, root = _causes(error)
    return _line(str(root)) or type(root).__name__


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def assembled(content: bytes) -> dict[str, Any]:
    """A streamed answer as a whole one; `ValueError` where its end is missing."""
    whole: dict[str, Any] = {"choices": []}
    choices: dict[int, dict[str, Any]] = {}
    for line in content.splitlines():
        if not line.startswith(b"data:"):
            continue
        data = line[len(b"data:") :].strip()
        if data == b"[DONE]":
            continue
        part = json.loads(data)
        for name in ("id", "model", "usage"):
            whole[name] = part.get(name) or whole.get(name)
        for delta in part.get("choices") or ():
            choice = choices.setdefault(
                delta["index"],
                {"index": delta["index"], "message": {"role": "assistant", "content": ""}, "finish_reason": None},
            )
            for name, text in (delta.get("delta") or {}).items():
                if name in ("content", "refusal", "reasoning_content") and text:
                    choice["message"][name] = (choice["message"].get(name) or "") + text
            choice["finish_reason"] = delta.get("finish_reason") or choice["finish_reason"]
    whole["choices"] = [choices[i] for i in sorted(choices)]
    if not choices or any(c["finish_reason"] is None for c in choices.values()):
        raise ValueError("the stream ends before the answer does")
    return whole
