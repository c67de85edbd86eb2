"""hls.js, as the page ships it, plays what the stack made: through rewritten playlists, every rung of the ladder."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Locator, Page, Response, expect

from tests.acceptance.browser.conftest import PATIENCE, File, Visitor

expect.set_options(timeout=PATIENCE)
RUNGS = {"360p": 360, "270p": 270}
ADVANCED = "([video, height]) => video.currentTime > 0.4 && video.videoHeight === height"
FROM_THE_START = "video => { video.loop = true; video.currentTime = 0; return video.play(); }"


class Fetched:
    """What the player has fetched: playlists from the API, segments from the storage, by path."""

    def __init__(self, page: Page) -> None:
        self.answers: list[Response] = []
        page.on("response", self._take)

    def _take(self, answer: Response) -> None:
        if urlsplit(answer.url).path.endswith((".m3u8", ".ts", ".m4s")):
            self.answers.append(answer)

    def playlists(self) -> list[Response]:
        return [answer for answer in self.answers if urlsplit(answer.url).path.endswith(".m3u8")]

    def segments(self) -> list[Response]:
        return [answer for answer in self.answers if not urlsplit(answer.url).path.endswith(".m3u8")]

    async def listed(self) -> Mapping[str, set[str]]:
        """The segments that each variant playlist names, by the resolution that the master gives it."""
        texts = {urlsplit(answer.url).path: await answer.text() for answer in self.playlists()}
        [master] = [text for text in texts.values() if "#EXT-X-STREAM-INF" in text]
        variants = re.findall(r"#EXT-X-STREAM-INF:.*RESOLUTION=\d+x(\d+).*\n(\S+)", master)
        by_name = {path.rpartition("/")[2]: text for path, text in texts.items()}
        return {
            height: {urlsplit(line).path for line in by_name[_name(uri)].splitlines() if line[:1] not in {"", "#"}}
            for height, uri in variants
            if _name(uri) in by_name
        }


def _name(uri: str) -> str:
    return urlsplit(uri).path.rpartition("/")[2]


async def play(page: Page, video: Locator, height: int) -> None:
    """Play from the start until the picture has this height and time has gone on."""
    await video.evaluate(FROM_THE_START)
    await page.wait_for_function(ADVANCED, arg=[await video.element_handle(), height])


async def test_hlsjs_plays_every_rung_through_rewritten_playlists(visitor: Visitor, clip_file: File) -> None:
    await visitor.drop(clip_file)
    await expect(visitor.card("clip.mp4", "ready")).to_be_visible()
    fetched = Fetched(visitor.page)
    viewer = await visitor.open("clip.mp4")
    video = viewer.locator("video")
    for rung, height in RUNGS.items():
        await viewer.get_by_label("Quality").select_option(rung)
        await expect(viewer.locator(".quality-now")).to_have_text(f"playing {rung}")
        await play(visitor.page, video, height)
    listed = await fetched.listed()
    assert set(listed) >= {str(height) for height in RUNGS.values()}
    taken = {urlsplit(answer.url).path for answer in fetched.segments() if answer.status in {200, 206}}
    for height in RUNGS.values():
        assert listed[str(height)] & taken, f"no segment of {height} was fetched"
    for answer in fetched.playlists():
        assert answer.url.startswith(visitor.url)
        assert "token" in parse_qs(urlsplit(answer.url).query)
        assert answer.headers["cache-control"] == "private, no-store"
    for answer in fetched.segments():
        assert answer.status in {200, 206}
        assert not answer.url.startswith(visitor.url)
        assert "X-Amz-Signature" in answer.url
