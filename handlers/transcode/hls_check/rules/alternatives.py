"""Checks the sounds that a master playlist offers beside its variants (RFC 8216, 4.3.4.1 and 4.3.4.2)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from handlers.transcode.hls_check.measure import Depth, Measured, measure
from handlers.transcode.hls_check.playlist import Alternative, Master, PlaylistError, Variant
from handlers.transcode.hls_check.report import Finding, Rule
from handlers.transcode.hls_check.source import Source, SourceError


@dataclass(frozen=True, slots=True)
class AlternateAudio:
    """What was measured, by group, and what was found on the way."""

    groups: dict[str, list[Measured]]
    findings: list[Finding]

    def beside(self, one: Measured) -> Measured:
        """The variant with the largest sound that may be played with it."""
        return with_largest(one, self.groups.get(one.variant.audio_group, []))


def with_largest(one: Measured, sounds: Sequence[Measured]) -> Measured:
    return replace(one, beside=max(sounds, key=lambda sound: sound.peak, default=None))


async def measure_alternate_audio(source: Source, base: str, master: Master, depth: Depth) -> AlternateAudio:
    """Measure every sound that has a playlist of its own, and check what is said of all of them."""
    groups: dict[str, list[Measured]] = {}
    findings = [*check_groups(master)]
    for sound in master.alternatives:
        if not sound.uri:
            continue
        try:
            groups.setdefault(sound.group, []).append(await measure(source, base, as_variant(sound.uri), depth))
        except (SourceError, PlaylistError) as error:
            findings.append(Finding(Rule.READABLE, sound.uri.partition("?")[0], str(error)))
    return AlternateAudio(groups, findings)


def as_variant(uri: str) -> Variant:
    """A sound's playlist is read and measured like a variant's."""
    return Variant(uri, None, None, "", "", None, audio_only=True)


def check_groups(master: Master) -> Iterator[Finding]:
    """Each group that is named is there, its members can be told apart, and at most one is the default."""
    groups: dict[str, list[Alternative]] = {}
    for sound in master.alternatives:
        groups.setdefault(sound.group, []).append(sound)
    for name in sorted({variant.audio_group for variant in master.variants} - groups.keys() - {""}):
        yield Finding(Rule.SOUNDS, name, "a variant names this group, and nothing is in it")
    for name, sounds in groups.items():
        if sum(sound.default for sound in sounds) > 1:
            yield Finding(Rule.SOUNDS, name, "more than one is the default")
        if any(sound.default and not sound.autoselect for sound in sounds):
            yield Finding(Rule.SOUNDS, name, "the default is not to be selected automatically")
        repeated = [word for word, times in Counter(sound.name for sound in sounds).items() if times > 1 or not word]
        if repeated:
            yield Finding(Rule.SOUNDS, name, f"names that do not tell them apart: {', '.join(map(repr, repeated))}")
