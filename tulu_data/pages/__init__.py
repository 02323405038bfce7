"""Self-contained HTML pages: one file that asks nothing of any network, the same bytes for the same input.

A page is a Jinja template beside this module that extends `shell.html`; `NAME.css` and `NAME.js` go in with the shared
ones (`browser.css`: a list with filters and what is chosen in it), and with the parts that a page asks for: `worddiff`
marks what two texts do not share. Data goes in compressed and as text: a row that holds markup stays a row.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def render(name: str, *, data: Any, parts: Sequence[str] = (), **view: Any) -> str:
    """The page `NAME.html` with what its template shows (`view`), and what its script reads (`data`).

    parts: names of shared styles and scripts beside this module that the page's own build on.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = lambda n: f"{n:,}"
    own = {"css": ("shell", "browser", *parts, name), "js": ("shell", *parts, name)}
    assets = {kind: Markup("").join(Markup(_file(f"{part}.{kind}")) for part in of) for kind, of in own.items()}
    return environment.get_template(f"{name}.html").render(csp=CSP, data=packed(data), **assets, **view)


def write(path: Path, html: str, *, option: str = "-o") -> Path:
    """Writes a page, whole or not at all; its path. `StoreError` where the disk refuses; `option` chooses the place."""
    from tulu_data.store import writing

    with writing(path.parent, option):
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{path.name}.{os.getpid()}")
        temp.write_text(html, encoding="utf-8", errors="replace")
        temp.replace(path)
    return path


def packed(data: Any) -> str:
    """Data as text that no parser of HTML looks into: JSON, gzip, base64."""
    plain = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")
    return base64.b64encode(gzip.compress(plain, compresslevel=6, mtime=0)).decode()


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
