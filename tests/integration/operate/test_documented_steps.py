"""The steps of the documentation work as they stand there: operate a stack, deploy, add a handler."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped] # ships no types

from deploy.local import child, ports
from tests.conftest import EmbeddedStack
from tests.integration.operate.documentation import DEADLINE, ROOT, blocks, own_state, run_command

PAGE = ROOT / "docs" / "handlers.md"
RUNBOOK = ROOT / "docs" / "runbook.md"
COMMAND = re.compile(r"(?m)`(operator [^`\n]+|logs [a-z]+ [a-z_.]+)`|^(operator .*|logs [a-z]+ .*)$")


def commands() -> list[str]:
    """Return every `operator …` and `logs …` of the runbook, in code blocks and in the text, each once."""
    page = RUNBOOK.read_text()
    return list(dict.fromkeys(one or other for one, other in COMMAND.findall(page)))


async def test_every_command_of_the_runbook_works_beside_a_running_stack(stack: EmbeddedStack) -> None:
    [setting_up] = [block for block in blocks(RUNBOOK, "sh") if "settings.env" in block]
    [asking] = [block.partition("\noperator")[0] for block in blocks(RUNBOOK, "sh") if "SQL='" in block]
    unknown = "00000000-0000-4000-8000-000000000000"
    found = commands()
    assert len(found) > 20
    for written in found:
        command = written.replace("QUEUE", "images").replace("ASSET_ID", unknown)
        script = f"{setting_up}\n{asking}\n{command}".replace(".local/", f"{stack.state}/")
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-u",
            "-c",
            script,
            cwd=ROOT,
            env=child.base_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE):
            _, err = await process.communicate()
        nothing_there = b"not replayed" in err or b"knows no asset" in err
        assert process.returncode == 0 or nothing_there, (written, err.decode())
        assert b"Traceback" not in err, written


AWS = """#!/bin/bash
printf '%s\\n' "$*" >> "$(dirname "$0")/asked"
case "$1 $2" in
  "ecs describe-services") echo '{"awsvpcConfiguration": {"subnets": ["s"]}}' ;;
  "ecs run-task") echo arn:aws:ecs:eu-central-1:000000000000:task/prod-media/abc ;;
  "ecs describe-tasks") printf '%s\\tEssential container in task exited\\n' "$ENDS_WITH" ;;
  "logs "*) echo "said" ;;
esac
"""


@pytest.mark.parametrize(("status", "well"), [("0", True), ("1", False), ("130", False), ("None", False)])
async def test_operator_command_in_an_account_ends_as_its_task_does(tmp_path: Path, status: str, well: bool) -> None:
    """Runs on a stand-in for `aws` that knows these calls. Their form was checked on a real emulator by hand."""
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "aws").chmod(0o755)
    [setting_up] = [block for block in blocks(RUNBOOK, "sh") if "run-task" in block]
    script = f"{setting_up}\noperator python -c 'print(\"1  2\")' 'a b' && echo well; logs consumer stage.retry"
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ENDS_WITH": status}
    output = await run_command("bash", "-u", "-c", script, cwd=tmp_path, env=env)
    assert output.split() == (["said", "well", "said"] if well else ["said", "said"])
    asked = (tmp_path / "asked").read_text()
    assert json.dumps(["python", "-c", 'print("1  2")', "a b"]) in asked
    assert "operator/operator/abc" in asked
    assert '{ $.event = "stage.retry" }' in asked


def test_every_log_event_of_the_runbook_exists() -> None:
    asked = {tuple(command.split()[1:3]) for command in commands() if command.startswith("logs ")}
    assert len(asked) > 8
    for service, event in asked:
        folders = ["api", "media"] if service == "api" else ["consumer", "handlers", "media"]
        code = "".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
        assert f'"{event}"' in code, (service, event)


async def test_the_operators_command_runs_on_the_running_stack(stack: EmbeddedStack, tmp_path: Path) -> None:
    run = (".venv/bin/python", "-m", "deploy.local", "cli")
    output = await run_command(*run, "dlq", "list", "images", "--json", cwd=ROOT, env=own_state(stack.state))
    assert json.loads(output)["queue"] == "images"
    assert "--rate" in await run_command(*run, "dlq", "redrive", "--help", cwd=ROOT, env=own_state(tmp_path))
    process = await asyncio.create_subprocess_exec(
        *run,
        "dlq",
        "list",
        "images",
        cwd=ROOT,
        env={**child.base_environment(), **own_state(tmp_path)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert (process.returncode, b"no stack runs on" in err) == (1, True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the working tree (perhaps from an archive), with its environment."""
    folder = tmp_path / "media"
    made = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", "tests", *made))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def apply_diff(text: str, diff: str) -> str:
    """Apply the hunks of `diff` to `text`. They are found by their content, because the pages give no line numbers."""
    for hunk in re.split(r"(?m)^@@.*\n", diff)[1:]:
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] or "\n" for line in lines if not line.startswith("+"))
        after = "".join(line[1:] or "\n" for line in lines if not line.startswith("-"))
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


@asynccontextmanager
async def serving(copy: Path, env: Mapping[str, str]) -> AsyncIterator[None]:
    """Run the stack of the copy until the end of the block."""
    argv = [".venv/bin/python", "-P", "-m", "deploy.local"]
    program = child.Program("copy", argv, {**child.base_environment(), "PYTHONPATH": str(copy), **env}, copy)
    started = await child.start(program, copy.parent)
    try:
        await started.until_ready(lambda: has_started(started.log), DEADLINE)
        yield
    finally:
        await started.stop()


async def has_started(log: Path) -> bool:
    return "ready after" in await asyncio.to_thread(log.read_text)


@pytest.mark.timeout(300)
async def test_handler_is_added_as_the_page_says(copy: Path) -> None:
    [code] = blocks(PAGE, "python")
    (copy / "consumer" / "notes.py").write_text(code)
    for diff in blocks(PAGE, "diff"):
        path = copy / re.findall(r"(?m)^\+\+\+ b/(.*)$", diff)[0]
        path.write_text(apply_diff(path.read_text(), diff))
    assert unprotected_queues(copy / "deploy" / "cloudformation" / "media.yaml") == []
    env = {"MEDIA_API_PORT": str(ports.free_port()), "MEDIA_LOCAL_STATE": str(copy / ".local")}
    for name in ("CONSUMER", "LOCAL_EMULATOR", "LOCAL_MEDIACONVERT", "LOCAL_POSTGRES"):
        env[f"MEDIA_{name}_PORT"] = str(ports.free_port())
    async with serving(copy, env):
        [script] = blocks(PAGE, "sh")
        sending, _, looking = script.partition("curl ")
        await run_command("bash", "-eu", "-c", sending, cwd=copy, env={"PYTHONPATH": str(copy)})
        await wait_until_processed(env["MEDIA_CONSUMER_PORT"])
        load = "set -a; . .local/settings.env; set +a; "
        output = await run_command(
            "bash", "-eu", "-c", f"{load}curl {looking}", cwd=copy, env={"PYTHONPATH": str(copy)}
        )
    assert 'handler="note",outcome="success",queue="notes"} 1.0' in output
    assert "undecodable" in output


def unprotected_queues(template: Path) -> list[str]:
    """Return the dead-letter queues that take messages of any queue, and the queues that allow requests without TLS."""
    resources = cfn_yaml.load(str(template))["Resources"]
    queues = {
        name: made["Properties"]
        for name, made in resources.items()
        if made["Type"] == "AWS::SQS::Queue" and made.get("Condition") != "WithEventsQueue"  # of the local stack
    }
    policies = [made["Properties"] for made in resources.values() if made["Type"] == "AWS::SQS::QueuePolicy"]
    held = {queue["Ref"] for policy in policies for queue in policy["Queues"]}
    return [
        name
        for name, queue in queues.items()
        if name not in held or ("RedrivePolicy" not in queue and "RedriveAllowPolicy" not in queue)
    ]


async def wait_until_processed(port: str) -> None:
    """Wait until both notes are processed."""
    async with asyncio.timeout(DEADLINE), aiohttp.ClientSession() as http:
        while True:  # each look is a request: the loop waits by itself
            async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = await answer.text()
            found = re.findall(r'(?m)^media_messages_processed_total\{.*outcome="(\w+)",queue="notes"\} 1\.0$', text)
            if {"success", "dead"} <= set(found):
                return
