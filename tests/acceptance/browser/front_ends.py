"""Code of front ends, taken from the documentation, on a page of its own; and the libraries that it imports."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from zlib import crc32

from playwright.async_api import Page, Route

from tests.conftest import EmbeddedStack
from tests.integration.operate.documentation import ROOT, blocks

STATIC = ROOT / "api" / "static"
LOCK = ROOT / "deploy" / "tools" / "front-ends"
INSTALLED = ROOT / ".tools" / "front-ends"
INSTALL_DEADLINE = 150.0


async def install() -> Path:
    """Install the libraries by their lock, unless they are. Return their folder."""
    stamp, modules = INSTALLED / ".set-up", INSTALLED / "node_modules"
    wanted = str(crc32((LOCK / "package-lock.json").read_bytes()))
    if stamp.is_file() and stamp.read_text() == wanted:
        return modules
    shutil.copytree(LOCK, INSTALLED, dirs_exist_ok=True)
    argv = ["npm", "ci", "--prefix", str(INSTALLED), "--ignore-scripts", "--no-audit", "--no-fund"]
    process = await asyncio.create_subprocess_exec(*argv)
    async with asyncio.timeout(INSTALL_DEADLINE):
        assert await process.wait() == 0, "npm ci failed"
    stamp.write_text(wanted)
    return modules


def recipe(page: str, name: str) -> str:
    """Return the only code block of this name in a page of the docs."""
    [code] = blocks(ROOT / "docs" / page, f"js {name}")
    return code


async def open_page(page: Page, stack: EmbeddedStack, body: str, files: Mapping[str, str | Path]) -> None:
    """Open a page of the API's origin with this body. `files` are scripts below `/front-end/`: their text or path."""
    texts = {name: file if isinstance(file, str) else file.read_text() for name, file in files.items()}

    async def answer(route: Route) -> None:
        found = texts.get(urlsplit(route.request.url).path.rpartition("/")[2])
        if found is None:
            await route.fallback()
        else:
            await route.fulfill(content_type="text/javascript", body=found)

    await page.route(f"{stack.api_url}/front-end/**", answer)
    # Not a page of a route: Chromium would refuse it all of loopback.
    await page.goto(f"{stack.api_url}/livez")
    await page.set_content(f"<!doctype html><meta charset=utf-8><title>A front end</title>{body}")


async def bundle(code: str) -> str:
    """Return a script of the documentation with the libraries that it imports."""
    modules = await install()
    esbuild = str(modules / ".bin" / "esbuild")
    process = await asyncio.create_subprocess_exec(
        esbuild, "--bundle", "--format=esm", "--log-level=warning", cwd=INSTALLED, stdin=PIPE, stdout=PIPE
    )
    output, _ = await process.communicate(code.encode())
    assert process.returncode == 0, "esbuild failed"
    return output.decode()


def global_libraries(names: Mapping[str, str]) -> str:
    """Return the elements that let `import` find modules whose scripts set a global: at `/front-end/GLOBAL.js`."""
    imports = {module: f"data:text/javascript,export default globalThis.{name}" for module, name in names.items()}
    scripts = "".join(f"<script src=/front-end/{name}.js></script>" for name in names.values())
    return f"{scripts}<script type=importmap>{json.dumps({'imports': imports})}</script>"
