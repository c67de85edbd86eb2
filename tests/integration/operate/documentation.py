"""Code blocks of the documentation, and commands that run them."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from deploy.local import child

ROOT = Path(__file__).parents[3]
DEADLINE = 120.0
"""Seconds for one command."""


async def run_command(
    *argv: str, cwd: Path, env: Mapping[str, str] | None = None, given: str = "", status: int = 0
) -> str:
    """Run a command that must end with this status; returns its standard output."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env={**child.base_environment(), **(env or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate(given.encode())
    assert process.returncode == status, out.decode() + err.decode()
    return out.decode()


def blocks(page: Path, kind: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"(?s)```{kind}\n(.*?)```", page.read_text())


def own_state(folder: Path) -> dict[str, str]:
    """Return the environment of a command that uses this folder as its state."""
    return {"MEDIA_LOCAL_STATE": str(folder)}
