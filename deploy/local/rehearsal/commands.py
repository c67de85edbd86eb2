"""The commands of the README's "Deploy it", typed as they stand: the real AWS CLI in a shell."""

import asyncio
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from deploy.local import child
from deploy.local.child import PartError
from deploy.local.rehearsal.image import ROOT

README = ROOT / "README.md"
PARAMETERS = "parameters-prod.json"
"""The file that the README tells its reader to fill in."""
OWN_CLI = ROOT / ".tools" / "aws" / "bin" / "aws"
"""The AWS CLI that set-up installs. It has an environment of its own, since it names an exact botocore."""
DEADLINE = 300.0
"""Seconds for all commands of one block."""
_BLOCK = re.compile(r"(?ms)^```sh\n(.*?)^```$")


def blocks(page: str) -> tuple[str, str]:
    """Return two blocks of the README's "Deploy it": the copy of the parameters, and the commands that take it."""
    _, _, section = page.partition("\n## Deploy it\n")
    found = _BLOCK.findall(section.partition("\n## ")[0])
    [copying] = [block for block in found if block.startswith("cp ")]
    [deploying] = [block for block in found if "aws cloudformation deploy" in block]
    return copying, deploying


class Clone:
    """A clone of the repository, in which the README's commands are typed. `environ` is that of the AWS CLI."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        """Link what the commands read into `folder`. Raises PartError when the AWS CLI is not installed."""
        tools = folder / "bin"
        tools.mkdir(parents=True)
        (tools / "aws").symlink_to(_cli())
        (folder / "deploy").symlink_to(ROOT / "deploy")
        base = child.base_environment()
        self._folder = folder
        self._env = {**base, **environ, "PATH": f"{tools}:{base.get('PATH') or '/usr/bin:/bin'}"}

    def fill(self, values: Mapping[str, str]) -> dict[str, str]:
        """Write values into the file of parameters; return all of its values."""
        path = self._folder / PARAMETERS
        listed: list[str] = json.loads(path.read_text())
        found = {**dict(entry.split("=", 1) for entry in listed), **values}
        path.write_text(json.dumps([f"{name}={value}" for name, value in found.items()], indent=2))
        return found

    async def run(self, block: str) -> str:
        """Run the commands of a block; return what they wrote. Raises PartError with it when one fails."""
        process = await asyncio.create_subprocess_exec(
            *child.parent_death_command(),
            *("bash", "-e", "-u", "-c", block),
            cwd=self._folder,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(DEADLINE):
                output, _ = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        text = output.decode(errors="replace")
        if process.returncode:
            raise PartError(f"a command of the README ended with {process.returncode}:\n{text}")
        return text


def _cli() -> Path:
    found = OWN_CLI if OWN_CLI.is_file() else shutil.which("aws")
    if not found:
        raise PartError("the AWS CLI is not installed: ./run.sh rehearse installs it")
    return Path(found)
