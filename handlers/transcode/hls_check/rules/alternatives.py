"""Checks of the alternate audio that a master playlist offers with its variants (RFC 8216, 4.3.4.1 and 4.3.4.2)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from handlers.transcode.hls_check.measure import Depth, Measured, measure
from handlers.transcode.hls_check.playlist import Alternative, Master, PlaylistError, Variant
from handlers.transcode.hls_check.report import Finding, Rule
from handlers.transcode.hls_check.source import Source, SourceError


@dataclass(frozen=True, slots=True)
class AlternateAudio:
    """The measured tracks by group, and the findings on them."""

    groups: dict[str, list[Measured]]
    findings: list[Finding]

    def add_to(self, one: Measured) -> Measured:
        """Return the variant with the largest track that may be played with it."""
        return with_largest(one, self.groups.get(one.variant.audio_group, []))


def with_largest(one: Measured, tracks: Sequence[Measured]) -> Measured:
    """Return the variant with the largest of `tracks` as its alternate audio."""
    return replace(one, alternate_audio=max(tracks, key=lambda track: track.peak, default=None))


async def measure_alternate_audio(source: Source, base: str, master: Master, depth: Depth) -> AlternateAudio:
    """Measure every track that has a playlist of its own, and check what the master says of all of them."""
    groups: dict[str, list[Measured]] = {}
    findings = [*check_groups(master)]
    for track in master.alternatives:
        if not track.uri:
            continue
        try:
            groups.setdefault(track.group, []).append(await measure(source, base, as_variant(track.uri), depth))
        except (SourceError, PlaylistError) as error:
            findings.append(Finding(Rule.READABLE, track.uri.partition("?")[0], str(error)))
    return AlternateAudio(groups, findings)


def as_variant(uri: str) -> Variant:
    """Make the variant that stands for an audio playlist, which is read and measured like one."""
    return Variant(uri, None, None, "", "", None, audio_only=True)


def check_groups(master: Master) -> Iterator[Finding]:
    """Check that each group that is named exists, that its names differ, and that at most one track is the default."""
    groups: dict[str, list[Alternative]] = {}
    for track in master.alternatives:
        groups.setdefault(track.group, []).append(track)
    for name in sorted({variant.audio_group for variant in master.variants} - groups.keys() - {""}):
        yield Finding(Rule.ALTERNATE_AUDIO, name, "a variant names this group, and nothing is in it")
    for name, tracks in groups.items():
        if sum(track.default for track in tracks) > 1:
            yield Finding(Rule.ALTERNATE_AUDIO, name, "more than one is the default")
        if any(track.default and not track.autoselect for track in tracks):
            yield Finding(Rule.ALTERNATE_AUDIO, name, "the default is not to be selected automatically")
        repeated = [word for word, times in Counter(track.name for track in tracks).items() if times > 1 or not word]
        if repeated:
            yield Finding(
                Rule.ALTERNATE_AUDIO, name, f"names that do not tell them apart: {', '.join(map(repr, repeated))}"
            )
