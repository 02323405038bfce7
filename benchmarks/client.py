"""What a request to a model costs this machine: CPU-ms each, against plain clients; and memory of large plans.

    python benchmarks/client.py                                # raw aiohttp, AsyncOpenAI with a semaphore, ours
    python benchmarks/client.py --peer-python VENV/bin/python  # also bespokelabs-curator, installed in that venv

A mock server (its own process) answers after 200 ms. Every contender runs in a process of its own, in turn, `--rounds`
times; medians are printed, with ratios to AsyncOpenAI. Ours includes the limiter and the journal.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LATENCY_S = 0.2
BODY = {"model": "m", "max_tokens": 64, "temperature": 0.7}


def messages(i):
    return [{"role": "user", "content": f"Question {i}: " + "how many apples are left in the basket? " * 8}]


def raw(url, n, at_once):
    import asyncio

    import aiohttp

    to = f"{url}/chat/completions"

    async def main():
        numbers = iter(range(n))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def work():
                for i in numbers:
                    async with session.post(to, json=BODY | {"messages": messages(i)}) as response:
                        (await response.json())["choices"][0]["message"]["content"]

            await asyncio.gather(*(work() for _ in range(at_once)))

    asyncio.run(main())


def plain(url, n, at_once):
    import asyncio

    from openai import AsyncOpenAI

    async def main():
        client = AsyncOpenAI(base_url=url, api_key="none", timeout=600)
        free = asyncio.Semaphore(at_once)

        async def one(i):
            async with free:
                answer = await client.chat.completions.create(messages=messages(i), **BODY)
                answer.choices[0].message.content  # noqa: B018

        await asyncio.gather(*(one(i) for i in range(n)))
        await client.close()

    asyncio.run(main())


def ours(url, n, at_once, *, tokens=None):
    from tulu_data.llm.client import Budget, Client, Stopped
    from tulu_data.llm.endpoint import Endpoint
    from tulu_data.llm.journal import Journal
    from tulu_data.llm.request import Request

    params = {k: v for k, v in BODY.items() if k != "model"}
    asked = (Request("m", tuple(messages(i)), params) for i in range(n))
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder), [url]) as journal:
        client = Client([Endpoint(url, "none", at_once)], journal, Budget(tokens=tokens))
        try:
            client.run(asked, lambda *_: None)
        except Stopped:
            assert tokens


CURATOR = """
import os, resource, sys, tempfile
url, n, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ.update(CURATOR_CACHE_DIR=tempfile.mkdtemp(), TELEMETRY_ENABLED="0", OPENAI_API_KEY="none")
import tiktoken
class Letters:  # its own tokenizer's files come from the network; counting characters costs it less
    def encode(self, text, **_): return range(len(text) // 4)
tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *_: Letters()
from bespokelabs import curator
class Ask(curator.LLM):
    def prompt(self, row): return row["q"]
    def parse(self, row, response): return {"a": response}
def cpu(): u = resource.getrusage(resource.RUSAGE_SELF); return u.ru_utime + u.ru_stime
llm = Ask(model_name="m", backend="openai", backend_params={"base_url": url, "max_requests_per_minute": 10**6,
    "max_tokens_per_minute": 10**9, "max_concurrent_requests": at_once}, generation_params={"max_tokens": 64})
rows = [{"q": f"Question {i}: " + "how many apples are left in the basket? " * 8} for i in range(n)]
before = cpu()
llm(rows)
print("RESULT", cpu() - before)
"""

CONTENDERS = {"raw aiohttp": raw, "AsyncOpenAI": plain, "tulu-data": ours}


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def child(name, url, n, at_once, tokens):
    if name == "tulu-data" and tokens:
        ours(url, n, at_once, tokens=tokens)
        print("RESULT", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    CONTENDERS[name](url, at_once, at_once)  # imports, connections, first calls
    before = cpu_s()
    CONTENDERS[name](url, n, at_once)
    print("RESULT", cpu_s() - before)


def measured(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not found:
        raise SystemExit(f"{command[:3]} failed:\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
    return float(found[0].split()[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--peer-python", help="the Python of a venv with bespokelabs-curator")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, url, n, at_once, tokens = options.child
        child(name, url, int(n), int(at_once), int(tokens))
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ROOT / "tests" / "tulu_data" / "llm" / "fault_server.py"
    serving = subprocess.Popen([sys.executable, str(server), str(port), json.dumps({"latency_s": LATENCY_S})])
    time.sleep(2)
    url = f"http://127.0.0.1:{port}/v1"

    def own(name, n, at_once, tokens=0):
        return measured([sys.executable, __file__, "--child", name, url, str(n), str(at_once), str(tokens)])

    try:
        for at_once in (64, 256, 1024):
            n = max(options.requests, 3 * at_once)
            took = {name: [] for name in CONTENDERS}
            if options.peer_python:
                took["curator"] = []
            for _ in range(options.rounds):
                for name in took:
                    if name == "curator":
                        used = measured([options.peer_python, "-c", CURATOR, url, str(n), str(at_once)])
                    else:
                        used = own(name, n, at_once)
                    took[name].append(1000 * used / n)
            baseline = statistics.median(took["AsyncOpenAI"])
            for name, ms in took.items():
                median = statistics.median(ms)
                ratio = f"{median / baseline:5.2f}× AsyncOpenAI"
                print(f"{at_once:5} in flight  {name:12} {median:6.2f} CPU-ms a request  {ratio}")
        answers = 4_000
        small, large = (own("tulu-data", n, 256, answers * 15) for n in (10_000, 1_000_000))
        print(f"peak memory after {answers:,} answers: {small:.0f} MB where 10,000 requests are planned,", end=" ")
        print(f"{large:.0f} MB where 1,000,000 are  {large / small:.2f}×")
    finally:
        serving.kill()


if __name__ == "__main__":
    main()
