"""The command line: usage errors, clean standard output, a stack of its own."""

import asyncio
import json
import os
from pathlib import Path
from uuid import UUID

import pytest

from deploy.local.ports import free_port
from media.settings import QUEUES
from tests.acceptance.conftest import Outcome, Process, command, jpeg
from tests.conftest import EmbeddedStack


def clean_env(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    return {**kept, **more}


async def test_process_starts_a_stack_of_its_own_and_stops_it(tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(jpeg(300, 200))
    env = clean_env(MEDIA_LOCAL_STATE=str(tmp_path / "state"), MEDIA_API_PORT=str(free_port()))

    async def process() -> Outcome:
        return await command("deploy.local", "process", "--json", str(picture), env=env)

    first = await process()
    for outcome in (
        first,
        *await asyncio.gather(process(), process()),
    ):  # They reuse the first one's state; one of them uses the other's stack.
        assert outcome.status == 0, outcome.stderr
        (one,) = outcome.files
        assert (one.status, {rendition.name for rendition in one.renditions}) == ("ready", {"w150", "w320"})
        assert "discarded" not in outcome.stderr
    assert (await command("deploy.local", "token", env=env)).status == 1


async def test_process_prints_a_table_for_people(process: Process, tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(jpeg(300, 200))
    outcome = await process(picture)
    header, row = outcome.stdout.splitlines()
    assert header.split() == ["file", "type", "status", "code", "size", "seconds", "renditions"]
    assert row.split()[:3] == [str(picture), "image", "ready"]


async def test_refused_upload_counts_as_rejected(process: Process, tmp_path: Path) -> None:
    program = tmp_path / "program.exe"
    program.write_bytes(b"MZ" + bytes(100))
    outcome = await process("--json", program)
    assert outcome.status == 0
    (one,) = outcome.files
    assert (one.status, one.asset_id) == ("rejected", None)
    assert one.code


@pytest.mark.parametrize(
    "arguments", [["process"], ["process", "/nonexistent"], ["process", "--type", "x", "a"], ["what"]]
)
async def test_wrong_usage_is_status_2(arguments: list[str], tmp_path: Path) -> None:
    outcome = await command("deploy.local", *arguments, env=clean_env(MEDIA_LOCAL_STATE=str(tmp_path)))
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "usage" in outcome.stderr


async def test_a_token_opens_the_running_stack(stack: EmbeddedStack) -> None:
    env = clean_env(MEDIA_LOCAL_STATE=str(stack.state))
    outcome = await command("deploy.local", "token", "--user", "somebody", "--role", "service", env=env)
    assert outcome.status == 0
    assert outcome.stdout.count(".") == 2


@pytest.mark.parametrize("line", ["consumer", "api", "consumer.dlq list uploads", f"consumer.replay {UUID(int=1)}"])
async def test_all_configuration_errors_are_listed(line: str) -> None:
    env = clean_env(PYTHONPATH=str(Path(__file__).parents[2]), MEDIA_CLAMD="nonsense", MEDIA_API_PORT="99999")
    outcome = await command(*line.split(), env=env)
    assert outcome.status == 2
    missing = {
        "MEDIA_DATABASE_URL",
        "OUTPUT_BUCKET",
        *(f"MEDIA_{q.upper().replace('-', '_')}_QUEUE_URL" for q in QUEUES),
    }
    assert all(name in outcome.stderr for name in missing | {"MEDIA_CLAMD", "MEDIA_API_PORT"})


async def test_standard_output_holds_only_json(process: Process, tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(jpeg(200, 100))
    assert isinstance(json.loads((await process("--json", picture)).stdout), list)
