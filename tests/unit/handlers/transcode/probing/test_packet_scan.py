"""Reading ffprobe's list of all packets: ends, gaps, and clocks that start again."""

import pytest

from handlers.transcode.probing.packet_scan import PacketScan, read_scan

TICKS = {0: 0.04, 1: 0.02}


def track(index: int, *times: int, lasts: int = 1) -> list[bytes]:
    return [b"%d,%d,%d,%d,K_" % (index, time, time, lasts) for time in times]


def scan(*tracks: list[bytes], may_restart: bool = True) -> PacketScan:
    """Scan tracks whose packets take turns in the file."""
    longest = max(len(one) for one in tracks)
    lines = [one[at] for at in range(longest) for one in tracks if at < len(one)]
    return read_scan(b"\n".join(lines), TICKS, {0, 1}, begin=0.0, may_restart=may_restart)


def test_ends_and_filled_spans() -> None:
    lines = b"0,0,0,1,K_\n1,5,5,25,K_\n0,2,1,1,__\n2,9,9,9,K_\n0,N/A,N/A,1,__\n0,1,2,N/A,__\n\nx,1\n"
    lines += b"1,32500,32500,50,K_\n"
    found = read_scan(lines, TICKS, {0, 1}, begin=0.0)
    assert found.tracks[0].end == pytest.approx(0.12)
    assert found.tracks[1].end == pytest.approx(651)
    assert found.tracks[1].begin == pytest.approx(0.1)
    assert found.spans == 2
    assert found.tracks[1].pause == pytest.approx(649.4)


def test_lengths_that_reach_beyond_the_next_packet_are_not_believed() -> None:
    """Of a browser's WebM ffmpeg guesses half a second for each picture."""
    found = scan(track(0, *range(100), lasts=12))
    assert found.tracks[0].guessed
    assert found.tracks[0].end == pytest.approx(4)
    slides = scan(track(0, 0, 100, 200, lasts=100))
    assert not slides.tracks[0].guessed
    assert slides.tracks[0].end == pytest.approx(12)


def test_no_packets_are_no_tracks() -> None:
    assert read_scan(b"", {0: 0.04}, {0}, begin=0.0).tracks == {}


def test_packet_that_an_edit_list_hides_does_not_count() -> None:
    found = read_scan(b"0,-50,-50,1,KD\n0,0,0,1,K_\n0,1,1,1,__\n", TICKS, {0}, begin=0.0)
    assert found.tracks[0].begin == 0
    assert [*found.tracks[0].keys] == [0]


def test_track_that_pauses_alone_has_a_gap() -> None:
    found = scan(track(0, *range(1000)), track(1, *range(200), *range(1000, 1800), lasts=1))
    assert found.largest_gap == pytest.approx(16.02)
    assert not found.restarts
    assert found.tracks[1].end == pytest.approx(36)


@pytest.mark.parametrize("to", [90_000, -50])
def test_clock_that_starts_again_goes_on(to: int) -> None:
    pictures = track(0, *range(100), *range(to, to + 100))
    sounds = track(1, *range(200), *range(2 * to, 2 * to + 200))
    found = scan(pictures, sounds)
    assert found.restarts
    assert found.largest_gap == 0
    assert found.tracks[0].end == pytest.approx(8, abs=0.1)
    assert found.tracks[1].end == pytest.approx(8, abs=0.1)
    assert not scan(pictures, sounds, may_restart=False).restarts


def test_lengths_are_believed_where_a_clock_starts_again_between_packets() -> None:
    def restarted(index: int, length: int, by: int) -> list[bytes]:
        times = range(0, 100 * length, length)
        return track(index, *times, *(by + time for time in times), lasts=length)

    found = scan(restarted(0, 10, 3), restarted(1, 20, 6))
    assert found.restarts
    for one in found.tracks.values():
        assert not one.guessed
        assert one.end == pytest.approx(80)
        assert one.pause == pytest.approx(0)


def test_packets_before_the_first_key_are_counted() -> None:
    lines = [b"0,%d,%d,1,%s" % (time, time, b"K_" if time in {3, 8} else b"__") for time in range(10)]
    found = read_scan(b"\n".join(lines), TICKS, {0}, begin=0.0)
    assert found.tracks[0].before_key == 3
    assert [*found.tracks[0].keys] == pytest.approx([0.12, 0.32])
