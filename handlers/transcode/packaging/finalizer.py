"""The end of every job, whichever engine did it: measured, listed in a master playlist of ours, and reported on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from handlers.transcode.hls_check.conformance import judge
from handlers.transcode.hls_check.measure import SAMPLE, Measured, measure
from handlers.transcode.hls_check.playlist import PlaylistError, Variant, parse_master, parse_media
from handlers.transcode.hls_check.report import Finding, Report, Rule
from handlers.transcode.hls_check.rules.alternatives import as_variant, check_groups, with_largest
from handlers.transcode.hls_check.rules.i_frames import check_i_frames
from handlers.transcode.hls_check.source import SourceError
from handlers.transcode.packaging.outputs import (
    HLS_TYPE,
    Output,
    capture_name,
    completed_outputs,
    other_name,
    variant_name,
)
from handlers.transcode.packaging.playlists import AAC_LC, AudioEntry, MasterEntry, Rates, master_playlist
from handlers.transcode.packaging.poster import PosterChoice, choose_poster
from handlers.transcode.packaging.stored_hls import StoredHls
from handlers.transcode.planning.names import AUDIO_GROUP, FIRST_VARIANT
from handlers.transcode.planning.plan import Plan, Rung
from handlers.transcode.planning.reported_output import OutputGroupDetail
from handlers.transcode.probing.languages import language_name
from media.asset import Rendition, report_key
from media.asset_store.stages import Note
from media.aws.s3 import ObjectStorage, StoredFile
from media.aws.s3_transfer import ObjectTransfer
from media.errors import Code, RetryableError
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

FILE_LIMIT = 200_000
"""Files of one attempt. The whole ladder of 8 h has 24,000 segments."""
REPORT_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class FinalizedOutputs:
    """What an asset is given: its renditions, how many milliseconds they last, what its timeline says of them."""

    renditions: list[Rendition]
    duration_ms: int
    notes: list[Note]


@dataclass(frozen=True, slots=True)
class _AssembledOutput:
    """The HLS as it is: its variants, the text of the master that lists them, and what the checks say."""

    measured: list[Measured]
    master: str
    report: Report

    @property
    def duration_ms(self) -> int:
        return round(max(one.duration for one in self.measured) * 1000)

    @property
    def sounding(self) -> bool:
        return any(one.sounding for one in self.measured)


@dataclass(frozen=True, slots=True)
class Finalizer:
    """Completes what an engine wrote to `bucket`."""

    storage: ObjectStorage
    transfer: ObjectTransfer
    metrics: Metrics
    bucket: str

    async def finish(self, plan: Plan, prefix: str, reported: Sequence[OutputGroupDetail] = ()) -> FinalizedOutputs:
        """Write master playlist and report below `prefix`, and keep one of the captured frames.

        `reported` is what the engine says of its outputs.

        May be repeated. Raises RetryableError(transcoder_error) when a file is missing or is not what was planned.
        """
        files = await self.storage.list(self.bucket, prefix, limit=FILE_LIMIT)
        poster, files = await self._poster(plan, prefix, files)
        outputs = completed_outputs(
            plan,
            reported,
            output_bucket=self.bucket,
            output_prefix=prefix,
            poster=poster.chosen.key if poster else "",
        )
        master_key = next(output.key for output in outputs if output.name == "hls")
        try:
            made = await self._measure(plan, master_key, files)
        except (SourceError, PlaylistError) as error:
            raise RetryableError(Code.TRANSCODER_ERROR, f"the job is complete, but its HLS is not: {error}") from error
        master = made.master.encode()
        await self.storage.write(self.bucket, report_key(master_key), made.report.to_json().encode(), REPORT_TYPE)
        await self.storage.write(self.bucket, master_key, master, HLS_TYPE)
        files = [*(file for file in files if file.key != master_key), StoredFile(master_key, len(master))]
        renditions = [_rendition(output, files, made.duration_ms) for output in outputs]
        self.metrics.renditions.labels("video").inc(len(renditions))
        notes = [Note("rendered", ", ".join(r.name for r in renditions)), _verdict(made.report)]
        if plan.sound and not made.sounding:
            notes.append(Note("no_sound", "the sound track holds nothing"))
        if poster and not poster.telling:
            notes.append(Note("dull_poster", "every frame that was looked at is black, white or of one colour"))
        return FinalizedOutputs(renditions, made.duration_ms, notes)

    async def _poster(
        self, plan: Plan, prefix: str, files: list[StoredFile]
    ) -> tuple[PosterChoice | None, list[StoredFile]]:
        """Keep one of the captures and remove the others; which one, and what files are left."""
        if plan.poster is None:
            return None, files
        found = {file.key: file for file in files}
        keys = [prefix + capture_name(number) for number in plan.poster.order]
        choice = await choose_poster(self.storage, self.bucket, [found[key] for key in keys if key in found])
        for other in choice.others if choice else ():
            await self.storage.delete_key(self.bucket, other.key)
            del found[other.key]
        return choice, list(found.values())

    async def _measure(self, plan: Plan, master_key: str, files: list[StoredFile]) -> _AssembledOutput:
        source = StoredHls(self.storage, self.transfer, self.bucket, files)
        sounds = [await measure(source, master_key, as_variant(f"{other_name(one)}.m3u8")) for one in plan.others]
        planned: list[Rung | None] = [*plan.rungs] or [None]
        found = [with_largest(await measure(source, master_key, _provisional(plan, rung)), sounds) for rung in planned]
        # Of all or none: where one variant alone has lost its sound, the check must find it missing.
        sound = [AAC_LC] if any(one.sounding for one in found) else []
        pairs = [
            (one, await _entry(plan, rung, one, sound, source, master_key, files))
            for rung, one in zip(planned, found, strict=True)
        ]
        measured, entries = zip(*_in_order(pairs), strict=True)
        text = master_playlist(entries, _sounds(plan))
        master = parse_master(text)
        final = [replace(one, variant=variant) for one, variant in zip(measured, master.variants, strict=True)]
        missing = [
            Finding(Rule.I_FRAMES, entry.uri, "it has no I-frame playlist, or an empty one")
            for entry in entries
            if entry.resolution and not entry.i_frame_rates
        ]
        frames = await check_i_frames(source, master_key, master.i_frames, final, SAMPLE)
        return _AssembledOutput(final, text, judge(final, [*missing, *frames, *check_groups(master)], sounds))


def _in_order(pairs: list[tuple[Measured, MasterEntry]]) -> list[tuple[Measured, MasterEntry]]:
    """As the master lists them: the one measured nearest to 2 Mbit/s first, then by their rates. So the first one is
    never above 4 Mbit/s, unless all are.
    """
    first = min((entry for _, entry in pairs), key=lambda entry: abs(entry.rates.declared - FIRST_VARIANT))
    return sorted(pairs, key=lambda pair: (pair[1] is not first, pair[1].rates.declared))


def _provisional(plan: Plan, rung: Rung | None) -> Variant:
    """What is known of a variant before it is measured."""
    return Variant(
        uri=f"{variant_name(rung)}.m3u8",
        bandwidth=None,
        average_bandwidth=None,
        codecs="",
        resolution=f"{rung.width}x{rung.height}" if rung else "",
        frame_rate=float(plan.fps) if rung else None,
        audio_only=rung is None,
    )


def _sounds(plan: Plan) -> list[AudioEntry]:
    """The languages of a listener's menu; nothing where there is nothing to choose."""
    if not (plan.sound and plan.others):
        return []
    files = ["", *(f"{other_name(other)}.m3u8" for other in plan.others)]
    return [
        AudioEntry(AUDIO_GROUP, language_name(sound.language), sound.language or "und", sound.channels, file)
        for sound, file in zip([plan.sound, *plan.others], files, strict=True)
    ]


async def _entry(
    plan: Plan,
    rung: Rung | None,
    one: Measured,
    sound: list[str],
    source: StoredHls,
    master_key: str,
    files: list[StoredFile],
) -> MasterEntry:
    rates = Rates(one.peak, one.average)
    if rung is None:
        return MasterEntry(one.variant.uri, rates, [AAC_LC])
    codec = next((picture.codec for picture in one.pictures.values() if picture and picture.codec), None)
    if codec is None:
        raise SourceError(f"{one.variant.uri} has no picture parameters")
    i_frames = _i_frame_name(rung, master_key, files)
    return MasterEntry(
        one.variant.uri,
        rates,
        [codec, *sound],
        one.variant.resolution,
        one.variant.frame_rate,
        i_frames,
        await _i_frame_rates(source, source.resolve(master_key, i_frames)) if i_frames else None,
        AUDIO_GROUP if plan.others else "",
    )


def _i_frame_name(rung: Rung, master_key: str, files: list[StoredFile]) -> str:
    """The other playlist that begins with a variant's name, by whatever the engine ends it with; empty if none."""
    folder = master_key.rpartition("/")[0] + "/"
    names = [file.key.removeprefix(folder) for file in files if file.key.endswith(".m3u8")]
    return next((name for name in names if name.startswith(f"{variant_name(rung)}_")), "")


async def _i_frame_rates(source: StoredHls, key: str) -> Rates | None:
    media = parse_media((await source.read(key)).decode("utf-8", errors="replace"))
    frames = [(frame.size * 8, frame.duration) for frame in media.segments if frame.size and frame.duration]
    if not frames or not media.i_frames_only:
        return None
    peak = max(bits / seconds for bits, seconds in frames)
    return Rates(round(peak), round(sum(bits for bits, _ in frames) / sum(seconds for _, seconds in frames)))


def _rendition(output: Output, files: list[StoredFile], duration_ms: int) -> Rendition:
    """With the bytes that S3 has for it; for HLS those of all its files."""
    folder = output.key.rpartition("/")[0] + "/" if output.name == "hls" else output.key
    mine = [file for file in files if file.key.startswith(folder)]
    if output.key not in {file.key for file in mine}:
        raise RetryableError(Code.TRANSCODER_ERROR, f"the job is complete, but {output.key} is not there")
    return Rendition(
        output.name,
        output.key,
        output.content_type,
        sum(file.size for file in mine),
        output.width,
        output.height,
        None if output.name == "poster" else output.duration_ms or duration_ms,
    )


def _verdict(report: Report) -> Note:
    if report.clean:
        return Note("conformance", "clean")
    log.warning("transcode.not_conforming", findings=[str(finding.rule) for finding in report.findings])
    breaches = "; ".join(f"{one.rule}: {one.where}: {one.message}" for one in report.findings[:5])
    return Note("conformance", f"{len(report.findings)} findings: {breaches}")
