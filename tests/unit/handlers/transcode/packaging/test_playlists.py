from dataclasses import replace

from handlers.transcode.hls_check.playlist import parse_master, parse_media
from handlers.transcode.hls_check.rules.alternatives import check_groups
from handlers.transcode.packaging.playlists import (
    AudioEntry,
    MasterEntry,
    PlaylistEntry,
    Rates,
    i_frame_playlist,
    master_playlist,
    media_playlist,
)

FILM = MasterEntry(
    "master_360p.m3u8", Rates(900, 800), ["avc1.64001e", "mp4a.40.2"], "640x360", 29.97, "frames.m3u8", Rates(90, 80)
)
SOUND = MasterEntry("master_audio.m3u8", Rates(70, 64), ["mp4a.40.2"])


def test_master_lists_the_measured_rates() -> None:
    master = parse_master(master_playlist([FILM]))
    (variant,) = master.variants
    assert (variant.bandwidth, variant.average_bandwidth, variant.resolution) == (900, 800, "640x360")
    assert (variant.codecs, variant.frame_rate, variant.audio_only) == ("avc1.64001e,mp4a.40.2", 29.97, False)
    assert master.i_frame_uris == ("frames.m3u8",)


def test_languages_are_offered_as_alternate_audio() -> None:
    sounds = [AudioEntry("sound", "English", "en", 2), AudioEntry("sound", "Deutsch", "de", 1, "master_sound2.m3u8")]
    master = parse_master(master_playlist([replace(FILM, audio_group="sound")], sounds))
    assert [(one.name, one.language, one.default, one.uri) for one in master.alternatives] == [
        ("English", "en", True, ""),
        ("Deutsch", "de", False, "master_sound2.m3u8"),
    ]
    assert {one.group for one in master.alternatives} == {master.variants[0].audio_group} == {"sound"}
    assert [*check_groups(master)] == []


def test_audio_alone_has_neither_size_nor_i_frames() -> None:
    text = master_playlist([SOUND])
    assert "RESOLUTION" not in text
    assert parse_master(text).variants[0].audio_only
    assert parse_master(text).i_frame_uris == ()


def test_a_peak_is_never_below_the_average() -> None:
    text = master_playlist([MasterEntry("a.m3u8", Rates(10, 20), ["mp4a.40.2"])])
    assert "BANDWIDTH=20,AVERAGE-BANDWIDTH=20" in text


def test_the_target_is_the_longest_segment_rounded() -> None:
    media = parse_media(media_playlist([PlaylistEntry("1.ts", 6.006), PlaylistEntry("2.ts", 0.4)]))
    assert (media.target, media.ended, [s.duration for s in media.segments]) == (6, True, [6.006, 0.4])
    assert parse_media(media_playlist([PlaylistEntry("1.ts", 0.2)])).target == 1


def test_i_frames_are_ranges_and_each_segment_is_mapped_once() -> None:
    frames = [
        PlaylistEntry("1.ts", 2, 100, 564, 564),
        PlaylistEntry("1.ts", 2, 90, 9000, 564),
        PlaylistEntry("2.ts", 2, 95, 376, 376),
    ]
    text = i_frame_playlist(frames)
    media = parse_media(text)
    assert media.i_frames_only
    assert [(s.uri, s.size, s.offset) for s in media.segments] == [
        ("1.ts", 100, 564),
        ("1.ts", 90, 9000),
        ("2.ts", 95, 376),
    ]
    assert text.count("#EXT-X-MAP") == 2
