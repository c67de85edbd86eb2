"""Playlist tokens and the rewriting of playlists."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.hls_playback import (
    ENTRY_LIMIT,
    LINES_PER_CHECK,
    SLICE,
    PlaybackTokens,
    UnusablePlaylistError,
    playlist_key,
    rewrite,
)

TOKENS = PlaybackTokens("a secret of the tests that has 32 bytes or more")
END = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_token_is_bound_to_asset_and_end() -> None:
    asset_id = uuid4()
    token = TOKENS.make(asset_id, END)
    assert TOKENS.check(token, asset_id) == END
    assert TOKENS.check(token, uuid4()) is None
    later = f"{int(END.timestamp()) + 1}.{token.partition('.')[2]}"
    assert TOKENS.check(later, asset_id) is None
    assert PlaybackTokens("another secret").check(token, asset_id) is None
    assert PlaybackTokens("another secret", "a secret of the tests that has 32 bytes or more").check(token, asset_id)


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_malformed_token_is_refused(text: str) -> None:
    assert TOKENS.check(text, uuid4()) is None


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="/.\\%a:#?m3u8 \n\0", max_size=30))
def test_no_path_leaves_the_masters_folder(path: str) -> None:
    try:
        key = playlist_key("processed/x/hls/clip.m3u8", path)
    except UnusablePlaylistError:
        return
    assert key.startswith("processed/x/hls/")
    assert ".." not in key.split("/")


async def test_entries_are_resolved_against_the_playlists_folder() -> None:
    signed: list[str] = []
    text = '#EXTM3U\r\n#EXT-X-KEY:METHOD=AES-128,URI="k.bin"\r\n\r\n# a note\r\n#EXTINF:6,\r\nseg/1.ts\r\nlow.m3u8\r\n'

    def sign(key: str) -> str:
        signed.append(key)
        return f"https://s/{key}"

    out = await rewrite(text, "processed/x/hls/v", "T", sign)
    assert signed == ["processed/x/hls/v/k.bin", "processed/x/hls/v/seg/1.ts"]
    assert out.splitlines() == [
        "#EXTM3U",
        '#EXT-X-KEY:METHOD=AES-128,URI="https://s/processed/x/hls/v/k.bin"',
        "",
        "# a note",
        "#EXTINF:6,",
        "https://s/processed/x/hls/v/seg/1.ts",
        "low.m3u8?token=T",
    ]


@pytest.mark.parametrize(
    "text", ["", "<html>", "#EXTM3U\n" + "a.ts\n" * (ENTRY_LIMIT + 1), '#EXTM3U\n#EXT-X-MAP:URI=""']
)
async def test_unusable_playlist_is_refused(text: str) -> None:
    with pytest.raises(UnusablePlaylistError):
        await rewrite(text, "p", "T", lambda key: key)


@pytest.mark.parametrize(
    ("seconds_per_entry", "yields"),
    [pytest.param(0.0, 0, id="quick"), pytest.param(SLICE, 2400 // LINES_PER_CHECK, id="slow")],
)
async def test_rewriting_yields_to_the_loop_whenever_its_slice_is_over(seconds_per_entry: float, yields: int) -> None:
    text = "#EXTM3U\n" + "".join(f"#EXTINF:6.0,\nclip_{n:05}.ts\n" for n in range(1200))
    now = 0.0

    def sign(key: str) -> str:
        nonlocal now
        now += seconds_per_entry
        return key

    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await rewrite(text, "processed/x", "T", sign, clock=lambda: now)
    other.cancel()
    assert turns == yields
