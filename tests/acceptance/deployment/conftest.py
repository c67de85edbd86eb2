"""A rehearsed deployment, once for all tests: the README's commands with the real AWS CLI, and https before the API."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession

from deploy.local.announcement import announce
from deploy.local.api_client import ApiClient, AssetInfo
from deploy.local.rehearsal.account import RECORDINGS_BUCKET
from deploy.local.rehearsal.deployment import Deployment, deployed
from deploy.local.source_file import SourceFile
from tests.acceptance.conftest import eicar
from tests.acceptance.deployment.large_recording import store_recording, store_settings

FLEET = 2
"""Consumers of a fixed number: the least and the most are the same."""
OWNER = "dr-house"
RECORDING = "recordings/large.mp4"
SETTINGS = "settings/1.env"
LINES = {"MEDIA_RETRY_CAP": "77", "MEDIA_CONCURRENCY": "99"}
"""Further settings of all tasks, of which the second is a parameter too."""
DEADLINE = 90.0
ENDS = {"ready", "rejected", "failed"}


@pytest.fixture(scope="session")
async def deployment(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> AsyncIterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    await asyncio.to_thread(store_recording, folder / "emulator", RECORDINGS_BUCKET, RECORDING, clip)
    lines = "# further settings\n" + "\n\n".join(f"{name}={value}" for name, value in LINES.items()) + "\n"
    await asyncio.to_thread(store_settings, folder / "emulator", RECORDINGS_BUCKET, SETTINGS, lines)
    settings = f"arn:aws:s3:::{RECORDINGS_BUCKET}/{SETTINGS}"
    fleet = {"MinConsumers": str(FLEET), "MaxConsumers": str(FLEET)}
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    async with deployed(folder, environ, UnscannableVideo="reencode", SettingsFileArn=settings, **fleet) as up:
        yield up


@dataclass(frozen=True, slots=True)
class Processed:
    """Assets of OWNER that have ended."""

    picture: AssetInfo
    film: AssetInfo
    virus: AssetInfo


@pytest.fixture(scope="session")
async def processed(
    deployment: Deployment, photo: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Processed:
    infected = tmp_path_factory.mktemp("infected") / "infected.pdf"
    infected.write_bytes(eicar())
    async with deployment.http() as http:
        api = client(deployment, http, OWNER)

        async def process(path: Path) -> AssetInfo:
            return await wait_for_end(api, await upload(api, path))

        return Processed(*await asyncio.gather(*map(process, (photo, clip, infected))))


def client(deployment: Deployment, http: ClientSession, user: str) -> ApiClient:
    return ApiClient(http, deployment.public_url, deployment.identity.token(user))


async def upload(api: ApiClient, path: Path) -> str:
    """Upload a file and return its asset's id."""
    with SourceFile(path) as file:
        ticket = await api.request_upload(path.name, file.size, announce(path))
        await api.put(ticket, file)
    return (await api.confirm(ticket.asset_id)).asset_id


async def wait_for_end(api: ApiClient, asset_id: str) -> AssetInfo:
    async with asyncio.timeout(DEADLINE):
        while (asset := await api.asset(asset_id)).status not in ENDS:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.2)
    return asset
