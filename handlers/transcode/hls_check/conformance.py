"""The checks: HLS (RFC 8216) and Apple's authoring rules, measured on the segments themselves."""

import asyncio
from collections.abc import Sequence

from handlers.transcode.hls_check.measure import FULL, Depth, Measured, measure
from handlers.transcode.hls_check.playlist import Master, PlaylistError, is_master, parse_master
from handlers.transcode.hls_check.report import Finding, Report, Rule, VariantReport, short
from handlers.transcode.hls_check.rules.alternatives import measure_alternate_audio
from handlers.transcode.hls_check.rules.declared import check_declared
from handlers.transcode.hls_check.rules.i_frames import check_i_frames
from handlers.transcode.hls_check.rules.structure import check_master, check_media
from handlers.transcode.hls_check.rules.tracks import check_alignment, check_length, check_tracks
from handlers.transcode.hls_check.source import Source, SourceError

DEADLINE = 600.0
"""Seconds for one check: a folder of an hour's five rungs, read whole, takes some two minutes."""
MAX_PLAYLISTS = 100
"""Playlists that a master may name: the largest ladders have 30 variants, as many I-frame playlists, 20 languages."""


async def check(source: Source, address: str, depth: Depth = FULL, deadline: float = DEADLINE) -> Report:
    """Read the master playlist at `address`, measure all it names within `deadline` seconds, report every breach."""
    try:
        async with asyncio.timeout(deadline):
            text = (await source.read(address)).decode("utf-8", errors="replace")
            master = parse_master(text)
            named = len(master.variants) + len(master.i_frames) + len(master.alternatives)
            if not is_master(text):
                finding = Finding(Rule.VARIANTS, short(address), "it lists no variants")
            elif named > MAX_PLAYLISTS:
                finding = Finding(Rule.LIMITS, short(address), f"it names {named} playlists")
            else:
                return await _measure_all(source, address, master, depth)
    except TimeoutError:
        finding = Finding(Rule.LIMITS, short(address), f"not finished within {deadline:.0f} s")
    except (SourceError, PlaylistError) as error:
        finding = Finding(Rule.READABLE, short(address), str(error))
    return Report((), (finding,))


async def _measure_all(source: Source, address: str, master: Master, depth: Depth) -> Report:
    alternate_audio = await measure_alternate_audio(source, address, master, depth)
    findings = [*check_master(master, address), *alternate_audio.findings]
    measured: list[Measured] = []
    for variant in {(one.uri, one.groups): one for one in master.variants}.values():
        try:
            measured.append(alternate_audio.add_to(await measure(source, address, variant, depth)))
        except (SourceError, PlaylistError) as error:
            findings.append(Finding(Rule.READABLE, short(variant.uri), str(error)))
    findings += await check_i_frames(source, address, master.i_frames, measured, depth)
    return judge(measured, findings, [track for group in alternate_audio.groups.values() for track in group])


def judge(
    measured: Sequence[Measured], findings: Sequence[Finding] = (), alternate_audio: Sequence[Measured] = ()
) -> Report:
    """Check variants and alternate audio that were measured, and report that together with earlier `findings`."""
    found = [*findings]
    for track in alternate_audio:
        found += [*check_media(track), *check_length(track, measured), *check_tracks(track)]
    for one in measured:
        found += [*check_media(one), *check_declared(one), *check_tracks(one)]
    found += check_alignment([one for one in measured if not one.variant.audio_only])
    notes = [note for one in (*measured, *alternate_audio) if (note := _note(one))]
    variants = (
        VariantReport(
            uri=short(one.variant.uri),
            resolution=one.variant.resolution,
            codecs=one.variant.codecs,
            frame_rate=one.variant.frame_rate,
            segments=len(one.media.segments),
            duration=round(one.duration, 3),
            declared_bandwidth=one.variant.bandwidth,
            measured_bandwidth=one.peak,
            declared_average=one.variant.average_bandwidth,
            measured_average=one.average,
            examined=one.examined,
        )
        for one in measured
    )
    return Report(tuple(variants), tuple(found), tuple(notes))


def _note(one: Measured) -> str:
    where, count = short(one.variant.uri), len(one.sizes)
    if one.media.encrypted:
        return f"{where}: its segments are encrypted, only their sizes were looked at"
    if one.media.opaque:
        return f"{where}: its segments are fragmented MP4, only their sizes were looked at"
    if one.examined < count:
        others = len(one.seen) - one.examined
        return f"{where}: {one.examined} of {count} segments were read whole, the beginnings of {others} others"
    unjudged = any(inside.picture and not inside.judged for inside in one.seen.values())
    return f"{where}: its pictures are of a coding that is not looked into" if unjudged else ""
