"""Rows, versions and servers for tests, written where they are used."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from trainers import tiny
from tulu_data.parquet import ShardWriter
from tulu_data.rows import Kind, Row, finish, to_table
from tulu_data.store import Store, Version
from tulu_data.tokens import token_counter


def smallest_row(kind: Kind, text: str) -> Row:
    """The smallest row of a kind whose prompt is `text`, without digests."""
    prompt = [{"role": "user", "content": text}]
    answer = [{"role": "assistant", "content": f"answer to {text}"}]
    row: Row = {"messages": prompt + answer if kind == "sft" else prompt}
    if kind == "preference":
        row |= {"chosen": answer, "rejected": [{"role": "assistant", "content": "no"}]}
    if kind == "rlvr":
        row |= {"ground_truth": text, "verifier": "gsm8k"}
    return row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[Row]]:
    """Prompts as text, or rows without digests, → finished rows; an id comes from `prov.orig_id` or the content."""

    def make(
        source: str,
        rows: Sequence[Row | str],
        kind: Kind = "sft",
        *,
        license: str | None = "mit",  # noqa: A002
        tokenizer: str | None = "words/1",
    ) -> list[Row]:
        full = [smallest_row(kind, r) if isinstance(r, str) else copy.deepcopy(r) for r in rows]
        count = token_counter(tokenizer) if tokenizer else None
        return [finish(kind, r, source=source, license=license, count_tokens=count) for r in full]

    return make


@pytest.fixture(scope="session")
def make_version(make_rows: Callable[..., list[Row]]) -> Callable[..., Version]:
    """Publishes prompts, rows or finished rows as `name`; `batch_rows` is how they arrive at the writer."""

    def make(
        store: Store,
        name: str,
        rows: Sequence[Row | str],
        kind: Kind = "sft",
        *,
        batch_rows: int = 1_000,
        tokenizer: str | None = "words/1",
        license: str | None = "mit",  # noqa: A002
        side: dict[str, Any] | None = None,
        **publish: Any,
    ) -> Version:
        done = [isinstance(r, dict) and "row_sha" in r for r in rows]
        full = list(rows) if rows and all(done) else make_rows(name, rows, kind, license=license, tokenizer=tokenizer)
        with store.build(name, kind) as build:
            writer = ShardWriter(build.data, kind)
            for i in range(0, len(full), batch_rows):
                writer.write(to_table(kind, full[i : i + batch_rows]))
            for path, table in (side or {}).items():
                build.add_table(path, table)
            shards = writer.close()
            return build.publish(shards, writer.tally.logical(), tokenizer=tokenizer, **publish)

    return make


# ------------------------------------------------------------ a browser

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")  # its event loop must not run beside other tests' own
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


class Opened:
    """A page in the browser that notes what it asks for and what it complains of."""

    def __init__(self, browser, path, *, fragment="", width=1280, height=900, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.url = path.as_uri()
        self.said, self.requests = [], []
        self.page.on("console", lambda m: self.said.append(m.text))
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("dialog", lambda d: (self.said.append(d.message), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url.partition("#")[0]))
        self.page.goto(self.url + fragment)
        self.page.wait_for_selector("body[data-ready]")

    def rows(self):
        return self.page.locator(".row").all_inner_texts()

    def shown(self):
        return self.page.locator("#detail h3").inner_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


@pytest.fixture(scope="module")
def open_page(browser: Any) -> Callable[..., Opened]:
    """A page's file → it, in the browser."""
    return partial(Opened, browser)


# ------------------------------------------------------------ servers

spec = importlib.util.spec_from_file_location(
    "fault_server", Path(__file__).parent / "tulu_data" / "llm" / "fault_server.py"
)
fault_server = importlib.util.module_from_spec(spec)
sys.modules["fault_server"] = fault_server
spec.loader.exec_module(fault_server)


@contextmanager
def running(server):
    """The server on a free port of this machine, in a thread."""
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def start():
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        return runner

    def serve():
        asyncio.set_event_loop(loop)
        server.runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(server.runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.fixture
def serve():
    """Settings → a fault server that runs for the rest of the test."""
    open_ = []

    def start(**settings):
        context = running(fault_server.FaultServer(**settings))
        server = context.__enter__()
        open_.append(context)
        return server

    yield start
    for context in open_:
        context.__exit__(None, None, None)


class Server:
    """`answer(path, request)` gives what is sent: an object as JSON, text as it is, a number as a status, or a delay.

    asked: the requests, in order.
    """

    def __init__(self, answer):
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(request)
                self.reply(answer(self.path, request))

            def reply(self, what):
                if isinstance(what, float):
                    time.sleep(what)
                    what = 500
                status = what if isinstance(what, int) else 200
                body = (
                    b"{}"
                    if isinstance(what, int)
                    else what.encode()
                    if isinstance(what, str)
                    else json.dumps(what).encode()
                )
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the client has gone

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Server]]:
    """What is sent for a request → a running OpenAI-compatible server on this machine."""

    @contextmanager
    def run(answer: Callable[[str, Any], Any]) -> Iterator[Server]:
        server = Server(answer)
        thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.http.shutdown()
            server.http.server_close()
            thread.join()

    return run


# `transformers serve MODEL` that tells what reaches the model: the token ids of each request, a line in asked.jsonl.
TELLING = """
import json, sys
from transformers.cli.transformers import main
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager as Manager

add = Manager.add_request

def told(self, input_ids, *more, **settings):
    with open(f"{sys.argv[2]}/asked.jsonl", "a") as file:
        file.write(json.dumps(list(input_ids)) + chr(10))
    return add(self, input_ids, *more, **settings)

Manager.add_request = told
main()
"""


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """`transformers serve` with a tiny Llama made on the spot: its URL and the model's name, which is its folder."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    tiny.write_model(folder, positions=512)
    cache = tmp_path_factory.mktemp("cache")
    port = free_port()
    command = [sys.executable, "-c", TELLING, "serve", str(folder), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--continuous-batching"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    log = (cache / "log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while not healthy(port):
            assert server.poll() is None, (cache / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (cache / "log").read_text()[-2000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        log.close()


def free_port():
    """A port that nothing listens on, of those that this worker of the tests alone takes from.

    Two runs of the tests at once begin in different places: one would ask the other's server, which then ends.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for i in range(500):
        port = 20_000 + 500 * worker + (os.getpid() * 7 + i) % 500
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    """A random Llama with a tokenizer of bytes, as a folder."""
    folder = tmp_path_factory.mktemp("tiny-model")
    return tiny.write_model(folder, positions=512)
