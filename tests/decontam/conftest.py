import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from decontam.suites import FieldText, Instance, Suite, suite_of
from tulu_data.rows import Kind, Row, digest_matrix, finish, order_id, to_table

BATCH_ROWS = 3


@dataclass
class MemorySet:
    """A training set in memory: the smallest thing that an audit takes."""

    name: str
    kind: Kind
    table: pa.Table
    batch_rows: int = BATCH_ROWS

    @property
    def digest(self) -> str:
        return order_id(digest_matrix(self.table["row_sha"]))

    @property
    def rows(self) -> int:
        return len(self.table)

    def parts(self) -> Iterator["MemoryPart"]:
        for batch in self.table.combine_chunks().to_batches(max_chunksize=self.batch_rows):
            yield MemoryPart(batch)


class MemoryPart(NamedTuple):
    batch: pa.RecordBatch

    @property
    def rows(self) -> int:
        return self.batch.num_rows

    def read(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        return self.batch if columns is None else self.batch.select(columns)


@pytest.fixture(scope="session")
def make_set() -> Callable[..., MemorySet]:
    """Rows without digests, or prompts as text, → a training set."""

    def make(name: str, rows: Sequence[Row | str], kind: Kind = "prompt", batch_rows: int = BATCH_ROWS) -> MemorySet:
        full = [{"messages": [{"role": "user", "content": r}]} if isinstance(r, str) else dict(r) for r in rows]
        return MemorySet(name, kind, to_table(kind, [finish(kind, r, source=name) for r in full]), batch_rows)

    return make


@pytest.fixture(scope="session")
def make_suite() -> Callable[..., Suite]:
    """Texts, or tuples of texts for instances of several fields, → a suite with ids 0, 1, …"""

    def make(
        name: str, items: Sequence[str | tuple[str, ...]], group: str = "dev", answers: Sequence[str] = ()
    ) -> Suite:
        instances = []
        for i, item in enumerate(items):
            texts = (item,) if isinstance(item, str) else item
            fields = tuple(FieldText(f"f{k}", t) for k, t in enumerate(texts))
            instances.append(Instance(str(i), None, fields, answers[i] if answers else None))
        return suite_of(name, group, instances)

    return make


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


@pytest.fixture(scope="session")
def said() -> Callable[[str], dict[str, Any]]:
    """Words → a chat completion that says them."""

    def make(text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}

    return make
