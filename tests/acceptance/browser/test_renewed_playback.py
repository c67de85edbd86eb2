"""Films are played to their end by URLs that end meanwhile: by the page, and by each recipe of docs/playback.md."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

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
LONG_FILM, LONG_PLAY, LONG_LIFE = 620, 600, 60
ENCODING_DEADLINE = 300.0
"""Seconds to wait for the long film."""
SLOWNESS = 2
"""How many seconds a second of the film may take where five films are played by a busy machine."""
STALL = 1.0
"""Seconds for which the picture may stand still in the long run."""
WATCH = """(video) => {
    const seen = { stall: 0, at: 0, back: 0, errors: [] };
    let looked = null, waited = 0, media = 0;
    video.addEventListener('error', () => seen.errors.push(video.error?.message ?? ''));
    const look = () => {
        const now = performance.now() / 1000;
        if (video.paused || video.currentTime === 0) [looked, waited] = [null, 0]; // It has yet to begin.
        else {
            if (looked !== null) waited += Math.min(now - looked, 0.1);
            looked = now;
            if (video.currentTime !== media) {
                const behind = waited - (video.currentTime - media) / video.playbackRate;
                if (behind > seen.stall) [seen.stall, seen.at] = [behind, media];
                seen.back = Math.max(seen.back, media - video.currentTime);
                [waited, media] = [0, video.currentTime];
            }
        }
        requestAnimationFrame(look);
    };
    look();
    window.seen = seen;
}"""
"""Record the most seconds by which the film fell behind the clock at once and where, and the furthest jump back.

A page that gets no processor for a while cannot tell whether the film stands still: a tenth of a second counts.
"""
PLAY = "video => { video.play().catch(() => {}); }"  # which another source interrupts
SHORT_BUFFER, USUAL_BUFFER = 1, 30
"""Seconds that players have ahead. By itself hls.js has a film of so few bits in whole before its first URL ends."""
SET_BUFFER = {
    "Hls": "Object.assign(Hls.DefaultConfig, { maxBufferLength: %d, maxMaxBufferLength: %d })",
    # Before it loads: what it has by then, the default buffer, may be most of the film.
    "shaka": """(() => {
        const { attach } = shaka.Player.prototype;
        shaka.Player.prototype.attach = function (...given) {
            this.configure({ streaming: { bufferingGoal: %d, rebufferingGoal: Math.min(0.5, %d) } });
            return attach.apply(this, given);
        };
    })()""",
    "videojs": "Object.assign(videojs.Vhs, { GOAL_BUFFER_LENGTH: %d, MAX_GOAL_BUFFER_LENGTH: %d })",
}
HLS_JS = front_ends.STATIC / "vendor" / "hls.min.js"
SCRIPTS = {
    "Hls": HLS_JS,
    "Plyr": Path("plyr/dist/plyr.js"),
    "videojs": Path("video.js/dist/video.min.js"),
    "shaka": Path("shaka-player/dist/shaka-player.compiled.js"),
}
"""The script of each library by the global that it sets. Those of a relative path are installed by npm."""
LIBRARIES = {
    "hls.js": {"hls.js": "Hls"},
    "plyr": {"hls.js": "Hls", "plyr": "Plyr"},
    "video.js": {"video.js": "videojs"},
    "shaka": {"shaka-player": "shaka"},
    "native": {},
}
"""What the recipe of each player imports: modules and their globals."""


def film_file(path: Path, seconds: int) -> bytes:
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={seconds}"]
    sound = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"]
    subprocess.run([programs.ffmpeg(), "-nostdin", "-v", "error", *picture, *sound, *coded, path], check=True)
    return path.read_bytes()


async def uploaded(stack: EmbeddedStack, folder: Path, seconds: int) -> str:
    content = await asyncio.to_thread(film_file, folder / "film.mp4", seconds)
    async with open_client(stack, VIEWER) as client:
        asset = await client.upload("video", "video/mp4", "film.mp4", content, ENCODING_DEADLINE)
    assert asset["status"] == "ready", asset
    return str(asset["asset_id"])


@pytest.fixture(scope="module")
async def film(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    return await uploaded(stack, tmp_path_factory.mktemp("film"), FILM)


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
    files["play-hls.js"] = front_ends.recipe("playback.md", "hls.js")
    for name in LIBRARIES[player].values():
        script = SCRIPTS[name]
        files[f"{name}.js"] = script if script.is_absolute() else await front_ends.install() / script
    if player == "plyr":
        files["plyr.svg"] = await front_ends.install() / "plyr" / "dist" / "plyr.svg"
    head = front_ends.global_libraries(LIBRARIES[player])
    await lives.answer_at(page, "/front-end/url")
    await front_ends.open_page(page, stack, f"{head}<video muted playsinline crossorigin=anonymous></video>", files)
    for name in SET_BUFFER.keys() & LIBRARIES[player].values():
        await page.evaluate(SET_BUFFER[name] % (buffer, buffer))
    await page.evaluate("""async () => {
        const { play } = await import('/front-end/recipe.js');
        window.player = await play(document.querySelector('video'), async () => (await fetch('/front-end/url')).json());
    }""")


async def open_in_gallery(visitor: Visitor, stack: EmbeddedStack, lives: ShortLives, buffer: int) -> None:
    """Open a film in the viewer of our own page."""
    page = visitor.page
    changed = f"{HLS_JS.read_text()}\n{SET_BUFFER['Hls'] % (buffer, buffer)};"
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
    found: dict[str, Any] = await page.evaluate("({ ...seen, time: document.querySelector('video').currentTime })")
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


@pytest.mark.parametrize(
    ("player", "rate"),
    [
        ("hls.js", RATE),
        ("native", RATE),
        pytest.param("plyr", RATE, marks=pytest.mark.clients),
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


async def test_stopped_native_player_asks_no_more(anonymous_visitor: Visitor, stack: EmbeddedStack) -> None:
    """The API is away when it stops, and does not answer until then."""
    page = anonymous_visitor.page
    await page.clock.install()
    script = front_ends.STATIC / "js" / "fresh-urls.js"
    await front_ends.open_page(page, stack, "<audio muted></audio>", {"fresh-urls.js": script})
    asked = await page.evaluate("""async () => {
        const { playNatively } = await import('/front-end/fresh-urls.js');
        const media = document.querySelector('audio');
        Object.defineProperty(media, 'paused', { value: false });
        const end = new Date(Date.now() + 60_000).toISOString();
        let refuse;
        window.asked = 0;
        const ask = () => ++asked === 1 ? { url: 'data:,', expires_at: end } : new Promise((_, no) => { refuse = no; });
        const stop = await playNatively(media, ask);
        media.dispatchEvent(new Event('error'));
        stop();
        refuse(new Error('the API is away'));
        return asked;
    }""")
    await page.clock.run_for(60_000)
    assert await page.evaluate("asked") == asked == 2


@pytest.fixture(scope="module")
async def long_film(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    return await uploaded(stack, tmp_path_factory.mktemp("long-film"), LONG_FILM)


@pytest.mark.soak
@pytest.mark.timeout(SLOWNESS * LONG_PLAY + ENCODING_DEADLINE + 300)
@pytest.mark.parametrize(
    "players",
    [
        # At once, each in a window of its own: one after the other they would take an hour.
        pytest.param(("page", "hls.js", "plyr", "video.js", "shaka"), id="requests changed"),
        # Alone: to take another source costs as much time as the machine has little.
        pytest.param(("native",), id="source changed"),
    ],
)
async def test_film_plays_for_minutes_without_a_stall(
    chromium: Browser, stack: EmbeddedStack, long_film: str, players: tuple[str, ...]
) -> None:
    lives = {player: ShortLives(stack, long_film, LONG_LIFE) for player in players}
    async with AsyncExitStack() as opened:
        pages = {}
        for player, urls in lives.items():
            context = await chromium.new_context()
            opened.push_async_callback(context.close)
            context.set_default_timeout(SLOWNESS * LONG_PLAY * 1000)
            pages[player] = page = await context.new_page()
            if player == "page":
                await open_in_gallery(Visitor(page, stack.api_url), stack, urls, USUAL_BUFFER)
            else:
                await play_recipe(page, stack, player, urls, USUAL_BUFFER)
        await asyncio.gather(*(watch(page, 1) for page in pages.values()))
        await asyncio.gather(*(play_to(page, LONG_PLAY) for page in pages.values()), return_exceptions=True)
        found = {player: await seen(page) for player, page in pages.items()}
    print(found)  # noqa: T201
    assert {player: one for player, one in found.items() if one["time"] < LONG_PLAY} == {}, "they did not get so far"
    assert all(len(urls.ends) > LONG_PLAY / LONG_LIFE for urls in lives.values()), "URLs ended meanwhile"
    assert {player: one for player, one in found.items() if one["stall"] >= STALL} == {}
    assert {player: one for player, one in found.items() if one["back"] >= 0.5} == {}, "the position was lost"
