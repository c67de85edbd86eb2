"""Billed seconds of a plan's outputs, by the classes of MediaConvert's price list."""

from handlers.transcode.planning.billed_seconds import LEAST, billed_seconds
from handlers.transcode.planning.plan import AudioPlan, Plan, Rung
from handlers.transcode.planning.submission import EngineName, Submission

SOUND = AudioPlan(number=1, source_channels=2, source_layout="stereo", channels=2, bitrate=128_000)
SD = Rung(name="360", width=640, height=360, qvbr=7, max_bitrate=1_500_000)
HD = Rung(name="720", width=720, height=1280, qvbr=8, max_bitrate=5_000_000)


def planned(*rungs: Rung, fps: int = 30, seconds: float = 60, others: int = 0) -> Plan:
    return Plan(
        rungs=rungs,
        sound=SOUND,
        others=(SOUND,) * others,
        fps_numerator=fps,
        duration_ms=round(seconds * 1000),
        poster=None,
        container="mov",
    )


def output_seconds(plan: Plan) -> dict[str, float]:
    submission = Submission(attempt=1, token="", plan=plan, engine=EngineName.FFMPEG)
    billed = billed_seconds(submission)
    assert {engine for engine, _ in billed} == {"ffmpeg"}
    return {kind: seconds for (_, kind), seconds in billed.items()}


def test_each_rung_counts_and_the_mp4_once_more_as_the_largest() -> None:
    assert output_seconds(planned(SD, HD)) == {"sd": 60, "hd": 120}
    assert output_seconds(planned(SD)) == {"sd": 120}


def test_more_than_thirty_frames_cost_more() -> None:
    assert output_seconds(planned(SD, HD, fps=60)) == {"sd_fast": 60, "hd_fast": 120}


def test_audio_is_billed_for_hls_and_m4a_and_for_other_languages() -> None:
    assert output_seconds(planned()) == {"audio": 120}
    assert output_seconds(planned(SD, others=2)) == {"sd": 120, "audio": 120}


def test_a_clip_counts_for_ten_seconds() -> None:
    assert output_seconds(planned(SD, seconds=1)) == {"sd": 2 * LEAST}
