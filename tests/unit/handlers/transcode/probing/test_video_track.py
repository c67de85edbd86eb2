"""Reading a picture track, for the cases that need no clip."""

from typing import Any

from handlers.transcode.probing.video_track import first_picture, read_video


def stream(**changes: Any) -> dict[str, Any]:
    plain = {"index": 0, "codec_type": "video", "codec_name": "h264", "width": 64, "height": 48}
    return plain | {"avg_frame_rate": "25/1", "r_frame_rate": "25/1", "nb_frames": "50"} | changes


def test_single_jpeg_is_a_cover_even_without_a_mark() -> None:
    assert read_video([stream(codec_name="mjpeg", nb_frames="1")]) is None
    assert read_video([stream(codec_name="mjpeg", nb_frames="2")]) is not None
    assert read_video([stream(nb_frames="1")]) is not None, "a film of one frame is a film"
    cover = stream(index=1, codec_name="png", nb_frames="1")
    film = read_video([cover, stream(index=2)])
    assert film is not None
    assert film.index == 2


def test_first_moving_picture_is_the_video_track() -> None:
    tracks = [stream(), stream(index=1, disposition={"default": 1})]
    film = read_video(tracks)
    assert film is not None
    assert film.index == first_picture(tracks) == 0


def test_engines_skip_only_marked_covers() -> None:
    sound = {"index": 0, "codec_type": "audio"}
    cover = stream(index=1, codec_name="png", nb_frames="1")
    assert first_picture([sound, cover, stream(index=2)]) == 1
    assert first_picture([sound, cover | {"disposition": {"attached_pic": 1}}, stream(index=2)]) == 2
    assert first_picture([sound]) is None


def test_start_is_counted_from_the_first_track() -> None:
    sound = {"index": 1, "codec_type": "audio", "start_time": "-0.5"}
    film = read_video([stream(start_time="1.0"), sound])
    assert film is not None
    assert film.begins == 1.5
    unknown = read_video([stream(start_time="N/A"), sound])
    assert unknown is not None
    assert unknown.begins == 0
