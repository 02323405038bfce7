"""Rows and versions for tests, written where they are used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

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
