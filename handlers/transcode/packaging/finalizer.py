"""Finishes a job of either engine: measures its HLS, writes our master playlist and report, chooses the poster."""

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
    alternate_audio_name,
    capture_name,
    completed_outputs,
    variant_name,
)
from handlers.transcode.packaging.playlists import AAC_LC, AudioEntry, MasterEntry, Rates, master_playlist
from handlers.transcode.packaging.poster import PosterChoice, choose_poster
from handlers.transcode.packaging.stored_hls import StoredHls
from handlers.transcode.planning.names import AUDIO_GROUP, FIRST_VARIANT
from handlers.transcode.planning.plan import NOTICED_MS, Plan, Rung
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
NOTICED_RULES = frozenset({Rule.DURATIONS, Rule.DAMAGED, Rule.COMPLETE, Rule.KEY_FRAMES})
"""Rules whose breach a viewer notices: sound or picture is missing or out of sync, or a player stops. Of the others
the timeline tells: another size or codec is what our playlist declares, and a switch between variants may flicker."""


class BreachedPlanError(RetryableError):
    """What was made is not what was planned, in a way that a viewer notices. `duration_ms` is how long it lasts."""

    def __init__(self, detail: str, duration_ms: int) -> None:
        super().__init__(Code.TRANSCODER_ERROR, detail)
        self.duration_ms = duration_ms


@dataclass(frozen=True, slots=True)
class FinalizedOutputs:
    """The renditions of an asset, their duration in milliseconds, and notes for its timeline."""

    renditions: list[Rendition]
    duration_ms: int
    notes: list[Note]


@dataclass(frozen=True, slots=True)
class _AssembledOutput:
    """The HLS as measured: its variants, the text of the master playlist, and the report of the checks."""

    measured: list[Measured]
    master: str
    report: Report

    @property
    def duration_ms(self) -> int:
        return round(max(one.duration for one in self.measured) * 1000)

    @property
    def has_audio(self) -> bool:
        return any(one.has_sound for one in self.measured)

    def require_planned(self, plan: Plan) -> None:
        """Raise BreachedPlanError for a breach that a viewer notices."""
        found = [f"{one.rule}: {one.where}: {one.message}" for one in self.report.findings if one.rule in NOTICED_RULES]
        if self.duration_ms < plan.duration_ms - NOTICED_MS:
            found.insert(0, f"{self.duration_ms / 1000:.1f} of {plan.duration_ms / 1000:.1f} s were made")
        if found:
            log.warning("transcode.plan_breached", breaches=len(found))
            raise BreachedPlanError("; ".join(found[:5]), self.duration_ms)


@dataclass(frozen=True, slots=True)
class Finalizer:
    """Finishes the outputs that an engine wrote to `bucket`."""

    storage: ObjectStorage
    transfer: ObjectTransfer
    metrics: Metrics
    bucket: str

    async def finish(self, plan: Plan, prefix: str, reported: Sequence[OutputGroupDetail] = ()) -> FinalizedOutputs:
        """Write master playlist and report below `prefix`, and keep one of the captured frames.

        `reported` is the engine's report on its outputs. It is safe to repeat. Raises RetryableError(transcoder_error)
        when a file is missing, and BreachedPlanError when what was made does not match the plan.
        """
        files = await self.storage.list(self.bucket, prefix, limit=FILE_LIMIT)
        poster, files = await self._choose_poster(plan, prefix, files)
        outputs = completed_outputs(
            plan,
            reported,
            output_bucket=self.bucket,
            output_prefix=prefix,
            poster=poster.chosen.key if poster else "",
        )
        master_key = next(output.key for output in outputs if output.name == "hls")
        try:
            assembled = await self._assemble(plan, master_key, files)
        except (SourceError, PlaylistError) as error:
            raise RetryableError(Code.TRANSCODER_ERROR, f"the job is complete, but its HLS is not: {error}") from error
        master = assembled.master.encode()
        report = assembled.report.to_json().encode()
        await self.storage.write(self.bucket, report_key(master_key), report, REPORT_TYPE)
        assembled.require_planned(plan)
        await self.storage.write(self.bucket, master_key, master, HLS_TYPE)
        files = [*(file for file in files if file.key != master_key), StoredFile(master_key, len(master))]
        renditions = [_rendition(output, files, assembled.duration_ms) for output in outputs]
        self.metrics.renditions.labels("video").inc(len(renditions))
        notes = [Note("rendered", ", ".join(r.name for r in renditions)), _conformance_note(assembled.report)]
        if plan.sound and not assembled.has_audio:
            notes.append(Note("no_sound", "the sound track holds nothing"))
        if poster and not poster.has_content:
            notes.append(Note("dull_poster", "every frame that was looked at is black, white or of one color"))
        return FinalizedOutputs(renditions, assembled.duration_ms, notes)

    async def _choose_poster(
        self, plan: Plan, prefix: str, files: list[StoredFile]
    ) -> tuple[PosterChoice | None, list[StoredFile]]:
        """Keep one of the captures and delete the rest. Returns the choice and the files that are left."""
        if plan.poster is None:
            return None, files
        found = {file.key: file for file in files}
        keys = [prefix + capture_name(number) for number in plan.poster.order]
        choice = await choose_poster(self.storage, self.bucket, [found[key] for key in keys if key in found])
        for capture in choice.rest if choice else ():
            await self.storage.delete_key(self.bucket, capture.key)
            del found[capture.key]
        return choice, list(found.values())

    async def _assemble(self, plan: Plan, master_key: str, files: list[StoredFile]) -> _AssembledOutput:
        """Measure all variants, list them in a master playlist, and check the whole."""
        source = StoredHls(self.storage, self.transfer, self.bucket, files)
        names = [f"{alternate_audio_name(one)}.m3u8" for one in plan.alternate_audio]
        alternates = [await measure(source, master_key, as_variant(name)) for name in names]
        planned: list[Rung | None] = [*plan.rungs] or [None]
        found = [
            with_largest(await measure(source, master_key, _provisional(plan, rung)), alternates) for rung in planned
        ]
        # All variants declare audio or none does: if a single one has lost its audio, the check must find it missing.
        audio_codecs = [AAC_LC] if any(one.has_sound for one in found) else []
        pairs = [
            (one, await _master_entry(plan, rung, one, audio_codecs, source, master_key, files))
            for rung, one in zip(planned, found, strict=True)
        ]
        # The variant measured nearest to 2 Mbit/s comes first, the others by rate. So the first one is never above
        # 4 Mbit/s, unless all are.
        first = min((entry for _, entry in pairs), key=lambda entry: abs(entry.rates.declared - FIRST_VARIANT))
        pairs.sort(key=lambda pair: (pair[1] is not first, pair[1].rates.declared))
        measured, entries = zip(*pairs, strict=True)
        text = master_playlist(entries, _audio_entries(plan))
        master = parse_master(text)
        final = [replace(one, variant=variant) for one, variant in zip(measured, master.variants, strict=True)]
        missing = [
            Finding(Rule.I_FRAMES, entry.uri, "it has no I-frame playlist, or an empty one")
            for entry in entries
            if entry.resolution and not entry.i_frame_rates
        ]
        frames = await check_i_frames(source, master_key, master.i_frames, final, SAMPLE)
        return _AssembledOutput(final, text, judge(final, [*missing, *frames, *check_groups(master)], alternates))


def _provisional(plan: Plan, rung: Rung | None) -> Variant:
    """Describe a variant before it is measured."""
    return Variant(
        uri=f"{variant_name(rung)}.m3u8",
        bandwidth=None,
        average_bandwidth=None,
        codecs="",
        resolution=f"{rung.width}x{rung.height}" if rung else "",
        frame_rate=float(plan.fps) if rung else None,
        audio_only=rung is None,
    )


def _audio_entries(plan: Plan) -> list[AudioEntry]:
    """List the languages of a player's menu; none when there is no choice."""
    if not (plan.sound and plan.alternate_audio):
        return []
    files = ["", *(f"{alternate_audio_name(one)}.m3u8" for one in plan.alternate_audio)]
    return [
        AudioEntry(AUDIO_GROUP, language_name(audio.language), audio.language or "und", audio.channels, file)
        for audio, file in zip(plan.audio_tracks, files, strict=True)
    ]


async def _master_entry(
    plan: Plan,
    rung: Rung | None,
    one: Measured,
    audio_codecs: list[str],
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
    # Engines end the name of a variant's I-frame playlist in different ways.
    folder = master_key.rpartition("/")[0] + "/"
    names = [file.key.removeprefix(folder) for file in files if file.key.endswith(".m3u8")]
    i_frames = next((name for name in names if name.startswith(f"{variant_name(rung)}_")), "")
    return MasterEntry(
        one.variant.uri,
        rates,
        [codec, *audio_codecs],
        one.variant.resolution,
        one.variant.frame_rate,
        i_frames,
        await _i_frame_rates(source, source.resolve(master_key, i_frames)) if i_frames else None,
        AUDIO_GROUP if plan.alternate_audio else "",
    )


async def _i_frame_rates(source: StoredHls, key: str) -> Rates | None:
    """Return the peak and average rate of an I-frame playlist; None when it lists no I-frames."""
    media = parse_media((await source.read(key)).decode("utf-8", errors="replace"))
    frames = [(frame.size * 8, frame.duration) for frame in media.segments if frame.size and frame.duration]
    if not frames or not media.i_frames_only:
        return None
    peak = max(bits / seconds for bits, seconds in frames)
    return Rates(round(peak), round(sum(bits for bits, _ in frames) / sum(seconds for _, seconds in frames)))


def _rendition(output: Output, files: list[StoredFile], duration_ms: int) -> Rendition:
    """Return the rendition with its size in S3, for HLS that of all its files."""
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


def _conformance_note(report: Report) -> Note:
    """Summarize the checks for the timeline. The report has the details."""
    if report.clean:
        return Note("conformance", "clean")
    log.warning("transcode.not_conforming", findings=[str(finding.rule) for finding in report.findings])
    findings = "; ".join(f"{one.rule}: {one.where}: {one.message}" for one in report.findings[:5])
    return Note("conformance", f"{len(report.findings)} findings: {findings}")
