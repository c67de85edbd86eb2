"""Films are played to their end by URLs that end meanwhile: by the page, and by each recipe of docs/playback.md."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from deploy.local import programs
from tests.acceptance.browser import front_ends
from tests.acceptance.browser.conftest import Visitor
from tests.acceptance.browser.short_lives import ShortLives
from tests.conftest import EmbeddedStack
from tests.integration.stack.client import open_client

VIEWER = "viewer"
FILM = 36
"""Seconds of the film of the default run: six segments."""
RATE = 8
LIFE = 3
"""Seconds of each URL in the default run."""
LONG_FILM, LONG_PLAY, LONG_LIFE = 200, 180, 60
STALL = 1.0
"""Seconds for which the picture may stand still in the long run."""
WATCH = """(video) => {
    const seen = { stall: 0, at: 0, back: 0, errors: [] };
    let wall = null, media = 0;
    video.addEventListener('error', () => seen.errors.push(video.error?.message ?? ''));
    const look = () => {
        const now = performance.now() / 1000;
        if (video.paused || video.currentTime === 0) wall = null; // It has yet to begin.
        else if (wall === null || video.currentTime !== media) {
            const behind = now - wall - (video.currentTime - media) / video.playbackRate;
            if (wall !== null && behind > seen.stall) [seen.stall, seen.at] = [behind, media];
            seen.back = Math.max(seen.back, media - video.currentTime);
            [wall, media] = [now, video.currentTime];
        }
        requestAnimationFrame(look);
    };
    look();
    window.seen = seen;
}"""
"""Record the most seconds by which the film fell behind the clock at once and where, and the furthest jump back."""
PLAY = "video => { video.play().catch(() => {}); }"  # which another source interrupts
SHORT_BUFFER, USUAL_BUFFER = 1, 30
"""Seconds that players have ahead. By itself hls.js has a film of so few bits in whole before its first URL ends."""
SET_BUFFER = {
    "hls.js": "Object.assign(Hls.DefaultConfig, { maxBufferLength: %d, maxMaxBufferLength: %d })",
    "video.js": "Object.assign(videojs.Vhs, { GOAL_BUFFER_LENGTH: %d, MAX_GOAL_BUFFER_LENGTH: %d })",
}
LIBRARIES = {
    "hls.js": ("hls.js", "Hls", front_ends.STATIC / "vendor" / "hls.min.js"),
    "video.js": ("video.js", "videojs", Path("video.js/dist/video.min.js")),
    "shaka": ("shaka-player", "shaka", Path("shaka-player/dist/shaka-player.compiled.js")),
}
OTHERS = {"video.js", "shaka"}
"""Players that npm installs."""


def film_file(path: Path, seconds: int) -> bytes:
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={seconds}"]
    sound = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"]
    subprocess.run([programs.ffmpeg(), "-nostdin", "-v", "error", *picture, *sound, *coded, path], check=True)
    return path.read_bytes()


async def uploaded(stack: EmbeddedStack, folder: Path, seconds: int) -> str:
    async with open_client(stack, VIEWER) as client:
        asset = await client.upload("video", "video/mp4", "film.mp4", film_file(folder / "film.mp4", seconds))
    assert asset["status"] == "ready", asset
    return str(asset["asset_id"])


@pytest.fixture(scope="module")
async def film(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    return await uploaded(stack, tmp_path_factory.mktemp("film"), FILM)


@pytest.fixture(scope="module")
async def long_film(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    return await uploaded(stack, tmp_path_factory.mktemp("long-film"), LONG_FILM)


@pytest.fixture
async def tab(anonymous_visitor: Visitor) -> AsyncIterator[Visitor]:
    """Return a visitor. An error of a script fails the test; URLs that end may be refused."""
    errors: list[str] = []
    anonymous_visitor.page.on("pageerror", lambda error: errors.append(str(error)))
    yield anonymous_visitor
    assert not errors


async def play_recipe(page: Page, stack: EmbeddedStack, player: str, lives: ShortLives, buffer: int) -> None:
    """Play a film by the recipe of a player, in the only <video> of a page."""
    files: dict[str, str | Path] = {"recipe.js": front_ends.recipe("playback.md", player)}
    files["fresh-urls.js"] = front_ends.STATIC / "js" / "fresh-urls.js"
    head = ""
    if player in LIBRARIES:
        module, name, script = LIBRARIES[player]
        files["library.js"] = await front_ends.install() / script if player in OTHERS else script
        head = front_ends.global_library(module, name)
    await lives.answer_at(page, "/front-end/url")
    await front_ends.open_page(page, stack, f"{head}<video muted playsinline crossorigin=anonymous></video>", files)
    if player in SET_BUFFER:
        await page.evaluate(SET_BUFFER[player] % (buffer, buffer))
    await page.evaluate("""async () => {
        const { play } = await import('/front-end/recipe.js');
        window.player = await play(document.querySelector('video'), async () => (await fetch('/front-end/url')).json());
    }""")
    if player == "shaka":
        await page.evaluate(f"player.configure({{ streaming: {{ bufferingGoal: {buffer}, rebufferingGoal: 0.5 }} }})")


async def open_in_gallery(visitor: Visitor, stack: EmbeddedStack, lives: ShortLives, buffer: int) -> None:
    """Open a film in the viewer of our own page."""
    page, script = visitor.page, LIBRARIES["hls.js"][2].read_text()
    changed = f"{script}\n{SET_BUFFER['hls.js'] % (buffer, buffer)};"
    await page.route("**/hls.min.js", lambda route: route.fulfill(content_type="text/javascript", body=changed))
    await lives.answer_at(page, f"/api/v1/media/assets/{lives.asset_id}/url?rendition=hls")
    await visitor.open_gallery(stack.token(user=VIEWER))
    await visitor.page.locator(f'.card[data-asset-id="{lives.asset_id}"] .card-open').click()
    await page.locator("video").wait_for()


async def watch(page: Page, rate: int) -> None:
    """Start to play and to record what is seen."""
    video = page.locator("video")
    await video.evaluate(WATCH)
    await video.evaluate("(video, rate) => { video.muted = true; video.playbackRate = rate; }", rate)
    await video.evaluate(PLAY)


async def play_to(page: Page, seconds: float) -> None:
    await page.wait_for_function("to => document.querySelector('video').currentTime >= to", arg=seconds)


async def seen(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate("seen")
    return found


async def check_short_play(page: Page, lives: ShortLives, rate: int) -> None:
    """Play a short film fast. Its URLs end while it is paused, and again while it plays."""
    await watch(page, rate)
    await play_to(page, 7)
    await page.locator("video").evaluate("video => video.pause()")
    await page.wait_for_function("end => Date.now() > end", arg=lives.ends[-1].timestamp() * 1000)
    ended = len(lives.ends)
    await page.locator("video").evaluate(PLAY)
    await play_to(page, FILM - 1)
    assert len(lives.ends) >= ended + 2, "once after the end, once before another"
    assert (await seen(page))["back"] < 0.5, "the position was lost"


async def check_long_play(page: Page, lives: ShortLives) -> None:
    """Play for minutes with URLs of one minute, at the usual speed."""
    page.set_default_timeout((LONG_PLAY + 60) * 1000)
    await watch(page, 1)
    await play_to(page, LONG_PLAY)
    assert len(lives.ends) > 2, "URLs ended meanwhile"
    found = await seen(page)
    assert found["stall"] < STALL, found
    assert found["back"] < 0.5, "the position was lost"


@pytest.mark.parametrize(
    ("player", "rate"),
    [
        ("hls.js", RATE),
        ("native", RATE),
        pytest.param("video.js", RATE, marks=pytest.mark.clients),
        pytest.param("shaka", 3, marks=pytest.mark.clients),  # it would have the whole film at once
    ],
)
async def test_recipe_plays_on_past_the_end_of_urls(
    tab: Visitor, stack: EmbeddedStack, film: str, player: str, rate: int
) -> None:
    lives = ShortLives(stack, film, LIFE)
    await play_recipe(tab.page, stack, player, lives, SHORT_BUFFER)
    await check_short_play(tab.page, lives, rate)


async def test_page_plays_on_past_the_end_of_urls(tab: Visitor, stack: EmbeddedStack, film: str) -> None:
    lives = ShortLives(stack, film, LIFE)
    await open_in_gallery(tab, stack, lives, SHORT_BUFFER)
    await check_short_play(tab.page, lives, RATE)


@pytest.mark.soak
@pytest.mark.timeout(LONG_PLAY + 300)
@pytest.mark.parametrize("player", ["page", "hls.js", "video.js", "shaka", "native"])
async def test_a_film_plays_for_minutes_without_a_stall(
    tab: Visitor, stack: EmbeddedStack, long_film: str, player: str
) -> None:
    lives = ShortLives(stack, long_film, LONG_LIFE)
    if player == "page":
        await open_in_gallery(tab, stack, lives, USUAL_BUFFER)
    else:
        await play_recipe(tab.page, stack, player, lives, USUAL_BUFFER)
    await check_long_play(tab.page, lives)
