"""How much may be asked of one endpoint at once: learned from how it answers, and from what it says of its limits.

Concurrency doubles until it first falls, then rises by one for each window of answers. It falls to 0.7 of itself on
429, 503 and time-outs, at most once in each window (AIMD: Chiu and Jain 1989). Requests and tokens per minute are
buckets that fill steadily, seeded by the user or by the `x-ratelimit-limit-*` headers. After repeated failures of the
connection the circuit opens: the endpoint rests, then one request probes it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

START = 32  # requests at once, to begin with
FALL = 0.7
BREAK_AFTER = 8  # failures of the connection in a row
REST_S = 1.0  # at first; doubles up to
LONGEST_REST_S = 60.0


@dataclass
class Bucket:
    """So many units a minute, saved up for at most some seconds."""

    per_minute: float
    level: float = 0.0
    at: float = 0.0

    def wait_s(self, units: float, now: float) -> float:
        """How long until so many units may be taken."""
        burst = max(units, self.per_minute / 10)
        self.level = min(burst, self.level + (now - self.at) * self.per_minute / 60) if self.at else burst
        self.at = now
        return max(0.0, (units - self.level) * 60 / self.per_minute)

    def take(self, units: float) -> None:
        """Takes units, which may leave less than nothing."""
        self.level -= units


@dataclass
class Limiter:
    """The limits of an endpoint; `most` requests at once at the most."""

    most: int
    rpm: float | None = None
    tpm: float | None = None
    limit: float = 0.0
    in_flight: int = 0
    paused_until: float = 0.0
    failures: int = 0  # of the connection, in a row
    held_back: int = 0  # pauses in a row
    requests: Bucket | None = None
    tokens: Bucket | None = None
    mean_tokens: float = 0.0
    _steep: bool = True  # doubles in each window until it first falls, as TCP starts
    _paused_at: float = 0.0  # when the last pause began
    _window: int = 0  # answers until the limit may fall again
    _rest_s: float = REST_S
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.limit = float(min(START, self.most))
        self.requests = Bucket(self.rpm) if self.rpm else None
        self.tokens = Bucket(self.tpm) if self.tpm else None

    @property
    def open_circuit(self) -> bool:
        """Whether the endpoint is resting after failures."""
        return self.failures >= BREAK_AFTER

    def load(self, now: float) -> float:
        """How busy it is, for choosing among endpoints; the least is asked."""
        return (self.in_flight + 1) / self.limit + (1000.0 if now < self.paused_until else 0.0)

    async def acquire(self, hurry: asyncio.Event) -> None:
        """Waits until a request may be sent, or until all should hurry."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            # A resting endpoint is probed by one request at a time.
            allowed = 1 if self.open_circuit else self.limit
            if self.in_flight >= allowed:
                future = loop.create_future()
                self._waiting.append(future)
                await future
                continue
            pause = max(self.paused_until - now, self._bucket_wait(now))
            if pause <= 0 or hurry.is_set():
                break
            await rest(pause, hurry)
        self.in_flight += 1
        if self.requests:
            self.requests.take(1)
        if self.tokens:
            self.tokens.take(self.mean_tokens)

    def _bucket_wait(self, now: float) -> float:
        waits = [b.wait_s(u, now) for b, u in ((self.requests, 1.0), (self.tokens, self.mean_tokens)) if b]
        return max(waits, default=0.0)

    def release(self) -> None:
        """A request is over, whatever came of it."""
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        free = max(1, int(self.limit)) - self.in_flight
        while self._waiting and free > 0:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                free -= 1

    def answered(self, tokens: int) -> None:
        """An answer came."""
        self.failures = self.held_back = 0
        self._rest_s = REST_S
        self._window = max(0, self._window - 1)
        self.limit = min(float(self.most), self.limit + (1 if self._steep else 1 / self.limit))
        if tokens:
            self.mean_tokens += (tokens - self.mean_tokens) * 0.05 if self.mean_tokens else tokens
            if self.tokens:
                self.tokens.take(tokens - self.mean_tokens)

    def overloaded(self, now: float, sent_at: float, retry_after_s: float | None, rng: random.Random) -> None:
        """A 429 or 503: less at once, and a pause as long as was asked for, else longer each time, with full jitter.

        What was sent before the last pause says nothing new.
        """
        self.slow_down()
        if sent_at < self._paused_at and retry_after_s is None:
            return
        self._paused_at = now
        self.held_back += 1
        ceiling = min(LONGEST_REST_S, 0.5 * 2 ** min(self.held_back, 7))
        pause = retry_after_s if retry_after_s is not None else rng.uniform(0, ceiling)
        self.paused_until = max(self.paused_until, now + pause)

    def slow_down(self) -> None:
        """Less at once; not again before as many answers have come as were under way."""
        self._steep = False
        if self._window == 0:
            self.limit = max(1.0, self.limit * FALL)
            self._window = int(self.limit)

    def failed(self, now: float) -> None:
        """The connection failed."""
        self.failures += 1
        if self.open_circuit and now >= self.paused_until:
            self.paused_until = now + self._rest_s
            self._rest_s = min(LONGEST_REST_S, 2 * self._rest_s)

    def told(self, headers: Mapping[str, str]) -> None:
        """Limits that the endpoint's headers state, where the user gave none."""
        for name, kind in (("requests", "rpm"), ("tokens", "tpm")):
            if getattr(self, kind) is None and (value := _number(headers.get(f"x-ratelimit-limit-{name}"))):
                setattr(self, kind, value)
                setattr(self, name, Bucket(value))


async def rest(seconds: float, hurry: asyncio.Event) -> None:
    """Sleeps, unless all should hurry."""
    try:
        async with asyncio.timeout(seconds):
            await hurry.wait()
    except TimeoutError:
        return


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value > 0 else None
