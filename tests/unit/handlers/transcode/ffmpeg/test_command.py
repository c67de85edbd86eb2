from dataclasses import replace
from fractions import Fraction

from handlers.transcode.ffmpeg.command import arguments, largest_file
from handlers.transcode.planning.ladder import plan
from media.asset import AssetType
from tests.unit.handlers.transcode.sources import MONO, STEREO, SURROUND, VIDEO, audio_only, source

URL = "http://127.0.0.1:4711/token"


def command(**changes: object) -> list[str]:
    return arguments(plan(source(**changes), AssetType.VIDEO), program="ffmpeg", source=URL)  # type: ignore[arg-type] # as `source` takes them


def after(argv: list[str], option: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == option]


def test_source_options_confine_ffmpeg() -> None:
    argv = command()
    walls = argv[: argv.index("-i")]
    assert after(walls, "-protocol_whitelist") == ["http,tcp"]
    assert "hls" not in after(walls, "-format_whitelist")[0]
    assert "concat" not in after(walls, "-format_whitelist")[0]
    assert after(argv, "-i") == [URL]


def test_one_decode_and_one_encoder_for_each_rung_and_the_audio() -> None:
    argv = command()
    assert [argv[at + 1] for at, word in enumerate(argv) if word.startswith("-c:v:")] == ["libx264"] * 5
    assert after(argv, "-c:a:0") == ["aac"]
    assert "-c:a:1" not in argv
    (outputs,) = [word for word in argv if word.startswith("[select=")]
    assert len(outputs.split("|")) == 6, "five variants and the MP4"
    assert r"select=\'v:4,a:0\':f=mp4" in outputs


def test_every_rung_is_scaled_from_the_one_above_it() -> None:
    (graph,) = after(command(), "-filter_complex")
    chains = graph.split(";")
    assert chains[0].startswith("[0:V:0]fps=25/1,scale=1920:1080")
    assert [chain[:16] for chain in chains[1:5]] == [
        "[d4]scale=1280:7",
        "[d3]scale=960:54",
        "[d2]scale=640:36",
        "[d1]scale=480:27",
    ]


def test_only_a_picture_that_begins_late_is_filled_up_from_the_start() -> None:
    late = command(video=replace(VIDEO, begins=1.5))
    assert after(late, "-filter_complex")[0].startswith("[0:V:0]fps=25/1:start_time=0,")
    soon = command(video=replace(VIDEO, begins=0.01))
    assert "start_time" not in after(soon, "-filter_complex")[0]


def test_a_slow_picture_has_no_b_frames() -> None:
    for rate, b_frames in ((Fraction(15, 2), ["0"]), (Fraction(12), [])):
        assert after(command(video=replace(VIDEO, frame_rate=rate)), "-bf:v:0") == b_frames


def test_only_what_ends_early_is_filled_up_to_the_end() -> None:
    short = plan(replace(source(duration=60.0), ends={0: 3.0, 1: 60.0}), AssetType.VIDEO)
    argv = arguments(short, program="ffmpeg", source=URL)
    assert after(argv, "-filter_complex")[0].startswith(
        "[0:V:0]fps=25/1,tpad=stop=-1:stop_mode=clone,trim=end=60.000,scale="
    )
    assert after(argv, "-filter:a:0") == ["aresample=async=1:min_hard_comp=0.03"]
    silent = plan(replace(source(duration=60.0), ends={0: 60.0, 1: 3.0}), AssetType.VIDEO)
    argv = arguments(silent, program="ffmpeg", source=URL)
    assert "tpad" not in after(argv, "-filter_complex")[0]
    assert after(argv, "-filter:a:0") == ["aresample=async=1:min_hard_comp=0.03,apad=whole_dur=60.000,atrim=end=60.000"]


def test_graph_goes_on_when_the_picture_changes_its_size() -> None:
    """ffmpeg 7 loses the frames of a graph that starts again. Filters before the scaler do not bear another size."""
    assert after(command(), "-reinit_filter:v") == ["0"]
    for other in (replace(VIDEO, interlaced=True), replace(VIDEO, rotation=90)):
        assert "-reinit_filter:v" not in command(video=other)


def test_only_audio_that_begins_late_is_filled_up_from_the_start() -> None:
    assert after(command(audio=(replace(STEREO, begins=1.5),)), "-filter:a:0") == [
        "aresample=async=1:min_hard_comp=0.03:first_pts=0"
    ]
    assert after(command(), "-filter:a:0") == ["aresample=async=1:min_hard_comp=0.03"]


def test_another_language_is_another_encoder_and_another_playlist() -> None:
    argv = command(audio=(STEREO, replace(SURROUND, number=3, language="ger", default=False)))
    assert after(argv, "-map")[-3:] == ["0:a:0", "0:a:2", "[poster]"]
    assert after(argv, "-c:a:1") == ["aac"]
    assert "pan=stereo" in after(argv, "-filter:a:1")[0]
    assert "pan" not in after(argv, "-filter:a:0")[0]
    (outputs,) = [word for word in argv if word.startswith("[select=")]
    slaves = outputs.split("|")
    assert len(slaves) == 7, "five variants, the language and the MP4"
    assert [slave for slave in slaves if "a:1" in slave] == [slave for slave in slaves if slave.endswith("sound3.m3u8")]


def test_silent_source_maps_no_audio() -> None:
    argv = command(audio=())
    assert not [word for word in argv if word.startswith(("-c:a", "0:a"))]
    assert ",a" not in next(word for word in argv if word.startswith("[select="))


def test_surround_is_mixed_by_the_same_table_as_in_mediaconvert() -> None:
    (filters,) = after(command(audio=(SURROUND,)), "-filter:a:0")
    assert filters.startswith("pan=stereo|c0=0.41400*c0+0.00100*c1+0.29275*c2")
    assert after(command(audio=(MONO,)), "-ac:a:0") == ["1"]


def test_audio_alone_has_no_graph_and_no_poster() -> None:
    made = plan(audio_only(), AssetType.AUDIO)
    argv = arguments(made, program="ffmpeg", source=URL)
    assert "-filter_complex" not in argv
    assert "audio.m4a" in argv[-1]


def test_the_largest_file_is_bounded_by_the_plan() -> None:
    hour = plan(source(duration=3600), AssetType.VIDEO)
    assert 5.5e9 < largest_file(hour) < 6.1e9


def test_posters_are_bt601_and_rgb_becomes_bt709() -> None:
    made = plan(source(video=replace(VIDEO, pixel_format="gbrp")), AssetType.VIDEO)
    graph = next(word for word in arguments(made, program="ffmpeg", source="/x") if "[poster]" in word)
    assert "out_range=pc:out_color_matrix=bt601,format=yuvj420p[poster]" in graph
    assert graph.index("out_color_matrix=bt709") < graph.index("colorspace=bt709") < graph.index("[v4]")
    assert made.local
