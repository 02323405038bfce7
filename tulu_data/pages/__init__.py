"""Self-contained HTML pages: one file that asks nothing of any network, the same bytes for the same input.

A page is a Jinja template beside this module that extends `shell.html`; `NAME.css` and `NAME.js` go in with the shared
ones (`browser.css`: a list with filters and what is chosen in it). Data goes in compressed and as text: a row that
holds markup stays a row.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def render(name: str, *, data: Any, **view: Any) -> str:
    """The page `NAME.html` with what its template shows (`view`), and what its script reads (`data`)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = lambda n: f"{n:,}"
    parts = {"css": ("shell", "browser", name), "js": ("shell", name)}
    assets = {kind: Markup("").join(Markup(_file(f"{part}.{kind}")) for part in own) for kind, own in parts.items()}
    return environment.get_template(f"{name}.html").render(csp=CSP, data=packed(data), **assets, **view)


def packed(data: Any) -> str:
    """Data as text that no parser of HTML looks into: JSON, gzip, base64."""
    plain = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")
    return base64.b64encode(gzip.compress(plain, compresslevel=6, mtime=0)).decode()


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
