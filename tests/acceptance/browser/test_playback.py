"""The page's hls.js plays every rung and audio track that the stack made, through rewritten playlists."""

import re
import subprocess
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Locator, Page, Response, expect

from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor

expect.set_options(timeout=TIMEOUT_MS)
RUNGS = {"360p": 360, "270p": 270}
ADVANCED = "([video, height]) => video.currentTime > 0.4 && video.videoHeight === height"
PLAY_FROM_START = "video => { video.loop = true; video.currentTime = 0; return video.play(); }"


HEARS_TONE = """async ([video, hertz]) => {
    // An element has one source node forever. It stays connected to the output.
    video.ear ??= (() => {
        const context = new AudioContext();
        const analyser = new AnalyserNode(context, { fftSize: 16384, smoothingTimeConstant: 0 });
        context.createMediaElementSource(video).connect(analyser).connect(context.destination);
        return analyser;
    })();
    await video.ear.context.resume();
    const bins = new Float32Array(video.ear.frequencyBinCount);
    video.ear.getFloatFrequencyData(bins);
    const loudest = bins.indexOf(Math.max(...bins)) * video.ear.context.sampleRate / video.ear.fftSize;
    return Math.max(...bins) > -60 && Math.abs(loudest - hertz) < 20;
}"""
"""Tell whether a tone of this frequency is the loudest in the video's sound."""
LANGUAGES = {"English": 440, "Deutsch": 1000}
"""Frequency in Hz of each audio track, by its name in the player's menu."""


class FetchedResponses:
    """Records the player's responses: playlists from the API, segments from the storage."""

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
        """List the segments of each variant playlist, by its height in the master playlist."""
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
    """Play from the start until the picture has this height and the time advances."""
    await video.evaluate(PLAY_FROM_START)
    await page.wait_for_function(ADVANCED, arg=[await video.element_handle(), height])


async def test_hlsjs_plays_every_rung_through_rewritten_playlists(visitor: Visitor, clip_file: File) -> None:
    await visitor.drop(clip_file)
    await expect(visitor.card("clip.mp4", "ready")).to_be_visible()
    fetched = FetchedResponses(visitor.page)
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


@pytest.fixture(scope="session")
def bilingual_video(tmp_path_factory: pytest.TempPathFactory) -> File:
    """Make a video with two audio tracks."""
    path = tmp_path_factory.mktemp("interpreted") / "talk.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=8"]
    sounds = [word for pitch in LANGUAGES.values() for word in ("-f", "lavfi", "-i", f"sine=f={pitch}:d=8:r=48000")]
    tracks = ["-map", "0", "-map", "1", "-map", "2", "-disposition:a:1", "0"]
    tags = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    argv = ["ffmpeg", "-nostdin", "-v", "error", *picture, *sounds, *tracks, *tags, *coded, str(path)]
    subprocess.run(argv, check=True, timeout=60)
    return File("talk.mp4", "video/mp4", path.read_bytes())


async def test_the_language_can_be_chosen_and_is_heard(visitor: Visitor, bilingual_video: File) -> None:
    await visitor.drop(bilingual_video)
    await expect(visitor.card("talk.mp4", "ready")).to_be_visible()
    fetched = FetchedResponses(visitor.page)
    viewer = await visitor.open("talk.mp4")
    video, sound = viewer.locator("video"), viewer.get_by_label("Sound", exact=True)
    await expect(sound.locator("option")).to_have_text([*LANGUAGES])
    assert await sound.locator("option").evaluate_all("all => all.map((one) => one.lang)") == ["en", "de"]
    await expect(sound).to_have_value("0")
    for language in ("English", "Deutsch", "English"):
        await sound.select_option(language)
        await video.evaluate(PLAY_FROM_START)
        await visitor.page.wait_for_function(HEARS_TONE, arg=[await video.element_handle(), LANGUAGES[language]])
    assert [answer for answer in fetched.segments() if "_sound2_" in urlsplit(answer.url).path]


async def test_single_audio_track_has_no_menu(visitor: Visitor, clip_file: File) -> None:
    await visitor.drop(clip_file)
    await expect(visitor.card("clip.mp4", "ready")).to_be_visible()
    viewer = await visitor.open("clip.mp4")
    await expect(viewer.get_by_label("Quality")).to_be_visible()
    await expect(viewer.get_by_label("Sound", exact=True)).to_have_count(0)
