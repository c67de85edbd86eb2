"""Plays HLS in Chromium with hls.js and Shaka, and reads the times that they hand to the browser's decoders."""

import asyncio
import base64
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Route

from tests.integration.transcode.recordings.timing import Played, play, run

HERE = Path(__file__).parent
SCRIPTS = {
    "hls.js": Path(__file__).parents[4] / "api/static/vendor/hls.min.js",
    "shaka": HERE / "vendor/shaka-player.hls.js",
}
ADDRESS = "http://localhost/player/"
"""Answered from the disk. Nothing leaves the browser."""
PATIENCE = 60.0
"""Seconds for a film of some seconds, on a busy machine."""


@dataclass(frozen=True, slots=True)
class PlayerRun:
    """What a player did: the times that it played at, the brightness at some moments, and what it decoded."""

    moved: list[tuple[float, float]]
    """Where it began to play each time, and where it was when it was stopped."""
    brightness: list[float]
    decoded: Played
    """Its audio and video on the player's clock: 0 is the begin of the player's timeline."""
    duration: float


async def play_in_browser(
    browser: Browser, player: str, hls: Path, folder: Path, *, seeks: list[float], looks: list[float]
) -> PlayerRun:
    """Play the folder `hls` from its start and from each of `seeks`. Look at the picture at each of `looks`."""
    context = await browser.new_context()
    try:
        async with asyncio.timeout(PATIENCE):
            page = await context.new_page()
            await page.route("**/*", _answering(player, hls))
            await page.goto(ADDRESS)
            await page.evaluate("([player, address]) => load(player, address)", [player, "hls/master.m3u8"])
            moved = [await page.evaluate("playFrom(null)")]
            moved += [await page.evaluate("(time) => playFrom(time)", time) for time in seeks]
            brightness = [await page.evaluate("(time) => brightnessAt(time)", time) for time in looks]
            state = await page.evaluate("state()")
            assert state["failures"] == [], state["failures"]
            source, zero = await _decoders_input(page, folder)
    finally:
        await context.close()
    decoded = await play(source, folder, zero=zero)
    spans = [(one["begin"], one["reached"]) for one in moved]
    return PlayerRun(spans, brightness, decoded, float(state["duration"]))


def _answering(player: str, hls: Path) -> Any:
    page = "<!doctype html><body><script src=lib.js></script><script src=player.js></script></body>"
    files = {"lib.js": SCRIPTS[player], "player.js": HERE / "player.js"}

    async def answer(route: Route) -> None:
        name = route.request.url.removeprefix(ADDRESS)
        path = hls / name.removeprefix("hls/") if name.startswith("hls/") else files.get(name)
        if not name:
            await route.fulfill(body=page, content_type="text/html")
        elif path and path.exists():
            kind = mimetypes.guess_type(path.name)[0] if path.suffix == ".js" else "application/octet-stream"
            await route.fulfill(path=path, content_type=kind)
        else:
            await route.fulfill(status=404)

    return answer


async def _decoders_input(page: Page, folder: Path) -> tuple[Path, float]:
    """Write what was appended to the source buffers into one file. Return it, and the player's zero on its clock."""
    inputs: list[str] = []
    offsets: set[float] = set()
    for number, buffer in enumerate(await page.evaluate("kept()")):
        parts = {base64.b64decode(data): float(offset) for offset, data in buffer["parts"]}
        heads = [data for data in parts if data[4:8] == b"ftyp"]
        media = [data for data in parts if data not in heads]
        path = folder / f"appended-{number}.{'mp4' if heads else 'ts'}"
        path.write_bytes(b"".join((*heads[:1], *media)))
        offsets |= {round(parts[data], 4) for data in media}
        inputs += ["-i", str(path)]
    assert len(offsets) == 1, offsets
    whole = folder / "appended.nut"
    maps = [word for number in range(len(inputs) // 2) for word in ("-map", str(number))]
    await run("ffmpeg", "-nostdin", "-v", "error", "-y", "-copyts", *inputs, *maps, "-c", "copy", str(whole))
    return whole, -offsets.pop()
