"""The description of the API: /openapi.json for machines, /docs for people. No script, no external resource.

And the schema of the events that other services are told.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any

from aiohttp import web

from api import openapi
from api.json_io import unchanging_response
from api.problems import KINDS
from media.events import asset_event

_STYLE = """
:root{color-scheme:light dark;--page:#f5f8f8;--surface:#fff;--ink:#13262b;--line:#dbe4e5;--accent:#0b7570}
@media(prefers-color-scheme:dark){:root{--page:#0c1416;--surface:#142023;--ink:#e6eff0;--line:#26383c;--accent:#4fc4ba}}
body{font:16px/1.6 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:2rem 1rem 6rem;color:var(--ink)}
html{background:var(--page)}a{color:var(--accent)}
h1{font-size:1.8rem;margin:0}h2{margin:3rem 0 .5rem}
details{border:1px solid var(--line);border-radius:.6rem;margin:.5rem 0;padding:.5rem .9rem;background:var(--surface)}
summary{cursor:pointer}summary b{display:inline-block;min-width:4.5rem}
code,pre{font:14px/1.5 ui-monospace,monospace}pre{overflow:auto}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;
border-bottom:1px solid var(--line)}
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Docs:
    """Both forms of the description, rendered once."""

    def __init__(self) -> None:
        document = openapi.document()
        self._json = _both_forms(json.dumps(document, indent=1))
        self._html = _both_forms("".join(_page(document)))
        self._events = _both_forms(json.dumps(asset_event.schema(), indent=1))

    async def machine(self, request: web.Request) -> web.Response:
        return unchanging_response(request, *self._json, {"Content-Type": "application/json"})

    async def event_schema(self, request: web.Request) -> web.Response:
        return unchanging_response(request, *self._events, {"Content-Type": "application/schema+json"})

    async def human(self, request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": _POLICY}
        return unchanging_response(request, *self._html, headers)


def _both_forms(text: str) -> tuple[bytes, bytes]:
    """Return a text in bytes, and compressed. Without a time in it, all processes have the same ETag."""
    plain = text.encode()
    return plain, gzip.compress(plain, mtime=0)


def _page(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
    yield '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
    yield f"<style>{_STYLE}</style><main><h1>{escape(info['title'])}</h1><p>{escape(info['description'])}"
    yield ' For machines: <a href="/openapi.json">openapi.json</a>.</p><h2>Endpoints</h2>'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method, path, operation)
    yield "<h2>Models</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        text = escape(json.dumps(schema, indent=2))
        yield f'<pre tabindex="0" role="region" aria-label="{escape(name)}">{text}</pre></details>'
    yield "<h2>Problem codes</h2><table>"
    for code, kind in KINDS.items():
        yield f"<tr><td><code>{code}</code><td>{kind.status}<td>{escape(kind.title)}"
    yield "</table>"
    yield "</main></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<details><summary><b>{method.upper()}</b><code>{escape(path)}</code></summary>"
    lock = " Needs a Bearer token." if "security" in operation else ""
    yield f"<p>{escape(operation['summary'])}{lock}</p><table>"
    for parameter in operation["parameters"]:
        need = ", required" if parameter["required"] else ""
        yield f"<tr><td><code>{escape(parameter['name'])}</code><td>{parameter['in']}{need}"
        yield f"<td>{escape(parameter.get('description', '') or parameter['schema'].get('description', ''))}"
    if body := operation.get("requestBody"):
        yield f"<tr><td>body<td>required<td>{_model(body)}"
    for status, response in operation["responses"].items():
        yield f"<tr><td>{status}<td>{_model(response)}<td>{escape(response['description'])}"
    yield "</table></details>"


def _model(part: dict[str, Any]) -> str:
    for content in part.get("content", {}).values():
        name = escape(content["schema"].get("$ref", "").rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>' if name else ""
    return ""
