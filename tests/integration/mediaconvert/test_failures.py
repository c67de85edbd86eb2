"""Inputs that cannot be used, and endpoints that are stopped, killed, cut off or misconfigured."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiobotocore.session import get_session

from tests.integration.mediaconvert import clips, jobs, servers
from tests.integration.mediaconvert.conftest import SECRET, open_world, subscribe
from tests.integration.mediaconvert.jobs import BUCKET, World
from tests.integration.mediaconvert.servers import REGION, ROOT, Server

OUT = f"s3://{BUCKET}/processed/f"


async def outcome(world: World, name: str, body: bytes | Path, share: float = 1.0) -> dict[str, object]:
    source = await world.put(f"uploads/video/o/f/{name}", body, share)
    group = jobs.file_group(f"{OUT}/{name}", jobs.mp4({"Height": 90}, 100_000))
    return await world.event(await world.create(jobs.job(source, group)), "COMPLETE", "ERROR")


async def test_bytes_that_are_no_media_end_in_1010(world: World) -> None:
    detail = await outcome(world, "noise.mp4", b"no film at all\n" * 5000)
    assert detail["errorCode"] == 1010
    assert f"Unable to open input file [s3://{BUCKET}/uploads/video/o/f/noise.mp4]" in str(detail["errorMessage"])


async def test_a_film_without_its_index_ends_in_1075(world: World, landscape: Path) -> None:
    assert (await outcome(world, "tail.mp4", landscape, 1 / 2))["errorCode"] == 1075


async def test_a_missing_object_ends_in_1404(world: World) -> None:
    group = jobs.file_group(f"{OUT}/none", jobs.mp4({"Height": 90}, 100_000))
    job_id = await world.create(jobs.job(f"s3://{BUCKET}/nothing/here.mp4", group))
    assert (await world.event(job_id, "ERROR"))["errorCode"] == 1404


async def test_a_source_without_a_picture_ends_in_1020(world: World, speech: Path) -> None:
    assert (await outcome(world, "speech.mp3", speech))["errorCode"] == 1020


@pytest.mark.parametrize("name", ["read_passwd_bypass.mp4", "bipbop_16x9.m3u8", "chunk_out_of_range.mp4"])
async def test_a_playlist_or_damaged_file_in_disguise_fails(world: World, name: str, corpus: Path) -> None:
    detail = await outcome(world, name, corpus / "media" / name)
    assert detail["errorCode"] in {1010, 1020, 1030, 1075}


@pytest.fixture
async def own(tmp_path: Path, emulator: Server) -> AsyncIterator[Server]:
    """Run an endpoint that a test may kill."""
    server = servers.endpoint(tmp_path, emulator.url)
    async with servers.running(server):
        yield server


@pytest.fixture
async def own_world(own: Server, emulator: Server) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield await open_world(stack, emulator.url, own.url)


@pytest.fixture(scope="session")
def long(folder: Path) -> Path:
    return clips.make(folder / "long.mp4", *clips.picture("160x90", 40, 60), *clips.FAST)


def slow(source: str, name: str) -> dict[str, object]:
    return jobs.job(source, jobs.file_group(f"{OUT}/{name}", jobs.mp4({"Height": 1080}, 8_000_000, audio=False)))


async def test_cancel_kills_the_encoder_and_removes_its_folder(own: Server, own_world: World, long: Path) -> None:
    source = await own_world.put("uploads/video/o/f/long.mp4", long)
    job_id = await own_world.create(slow(source, "canceled"))
    waiting = await own_world.create(slow(source, "canceled-too"))
    encoders = await own.encoders()
    await own_world.mediaconvert.cancel_job(Id=waiting)
    await own_world.mediaconvert.cancel_job(Id=job_id)
    await own_world.event(job_id, "CANCELED")
    await own_world.event(waiting, "CANCELED")
    await servers.gone(encoders)
    assert (await own_world.mediaconvert.get_job(Id=job_id))["Job"]["Status"] == "CANCELED"
    missing = await own_world.create(jobs.job(f"s3://{BUCKET}/absent", jobs.file_group(f"{OUT}/z", jobs.m4a())))
    await own_world.event(missing, "ERROR")
    assert list((own.log.parent / "state" / "work").iterdir()) == []
    assert not (await own_world.s3.list_objects_v2(Bucket=BUCKET, Prefix="processed/f/canceled")).get("Contents")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_job_in_flight_is_resumed_after_a_restart(
    own: Server, own_world: World, long: Path, brief: Path, number: signal.Signals
) -> None:
    done = await own_world.create(jobs.job(f"s3://{BUCKET}/absent", jobs.file_group(f"{OUT}/y", jobs.m4a())))
    await own_world.event(done, "ERROR")
    source = await own_world.put(f"uploads/video/o/f/{number.name}.mp4", long)
    job_id = await own_world.create(slow(source, f"restarted-{number.name}"))
    encoders = await own.encoders()
    foreign = own.log.parent / "state" / "work" / "notes"
    foreign.mkdir()
    await own.stop(number)
    await servers.gone(encoders)
    # A shorter film, so that the second run ends soon.
    await own_world.put(f"uploads/video/o/f/{number.name}.mp4", brief)
    await own.start()
    detail = await own_world.event(job_id, "COMPLETE", "ERROR")
    assert detail["status"] == "COMPLETE", detail
    foreign.rmdir()  # it belongs to no job, so it stayed
    job = (await own_world.mediaconvert.get_job(Id=job_id))["Job"]
    assert (job["Status"], job["RetryCount"]) == ("COMPLETE", 1 if number is signal.SIGKILL else 0)
    assert (await own_world.mediaconvert.get_job(Id=done))["Job"]["Status"] == "ERROR"


async def test_events_wait_for_their_queue_and_survive_a_restart(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        aws = await stack.enter_async_context(servers.running(servers.emulator(tmp_path)))
        own = servers.endpoint(tmp_path, aws.url)
        await stack.enter_async_context(servers.running(own))
        early = await open_world(stack, aws.url, own.url, subscribed=False)
        job_id = await early.create(jobs.job(f"s3://{BUCKET}/absent", jobs.file_group(f"{OUT}/x", jobs.m4a())))
        assert await early.final_status(job_id) == "ERROR"
        await own.stop(signal.SIGKILL)
        await own.start()
        late = World(early.s3, early.sqs, early.mediaconvert, await _subscribed(stack, early, aws))
        assert (await late.event(job_id, "ERROR"))["errorCode"] == 1404
        assert late.seen[0]["detail"]["status"] == "PROGRESSING"


async def _subscribed(stack: AsyncExitStack, world: World, aws: Server) -> str:
    session = get_session()
    session.set_credentials(*SECRET.values())
    client = session.create_client("events", endpoint_url=aws.url, region_name=REGION)
    return await subscribe(world.sqs, await stack.enter_async_context(client), "late-events")


async def test_a_busy_port_is_a_clear_message(endpoint: Server, tmp_path: Path) -> None:
    argv = ["-m", "deploy.local.mediaconvert", "--port", str(endpoint.port), "--state", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *argv, cwd=ROOT, env=endpoint.environment, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(20):
        _, stderr = await process.communicate()
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{endpoint.port}" in stderr.decode()
