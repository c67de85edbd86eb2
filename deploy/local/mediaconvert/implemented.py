"""The members of a job's document that this stand-in acts on, or can ignore since they have no visible effect.

It refuses all others: a job that works here must not differ in production.
"""

from collections.abc import Iterator, Mapping
from typing import Any

IMPLEMENTED: dict[str, frozenset[str]] = {
    "settings": frozenset({"Inputs", "OutputGroups", "TimecodeConfig", "AdAvailOffset"}),
    "input": frozenset(
        {
            "FileInput",
            "AudioSelectors",
            "VideoSelector",
            "TimecodeSource",
            "FilterEnable",
            "FilterStrength",
            "PsiControl",
            "DeblockFilter",
            "DenoiseFilter",
            "InputScanType",
        }
    ),
    "output": frozenset(
        {"AudioDescriptions", "ContainerSettings", "Extension", "NameModifier", "OutputSettings", "VideoDescription"}
    ),
    "audioSelector": frozenset(
        {"AudioDurationCorrection", "DefaultSelection", "ProgramSelection", "SelectorType", "Streams", "Tracks"}
    ),
    "audioDescription": frozenset(
        {
            "AudioSourceName",
            "AudioType",
            "AudioTypeControl",
            "CodecSettings",
            "CustomLanguageCode",
            "LanguageCode",
            "LanguageCodeControl",
            "RemixSettings",
            "StreamName",
        }
    ),
    "videoPreprocessors": frozenset({"ColorCorrector", "Deinterlacer"}),
    "colorCorrector": frozenset({"ColorSpaceConversion", "HdrToSdrToneMapper"}),
    "videoDescription": frozenset(
        {
            "AfdSignaling",
            "AntiAlias",
            "CodecSettings",
            "ColorMetadata",
            "DropFrameTimecode",
            "Height",
            "RespondToAfd",
            "ScalingBehavior",
            "Sharpness",
            "TimecodeInsertion",
            "VideoPreprocessors",
            "Width",
        }
    ),
    "hlsSettings": frozenset(
        {"IFrameOnlyManifest", "AudioTrackType", "AudioOnlyContainer", "AudioGroupId", "AudioRenditionSets"}
    ),
    "hlsGroupSettings": frozenset(
        {
            "AdMarkers",
            "CaptionLanguageSetting",
            "ClientCache",
            "CodecSpecification",
            "Destination",
            "DestinationSettings",
            "DirectoryStructure",
            "ManifestCompression",
            "ManifestDurationFormat",
            "MinFinalSegmentLength",
            "MinSegmentLength",
            "OutputSelection",
            "ProgramDateTime",
            "ProgressiveWriteHlsManifest",
            "SegmentControl",
            "SegmentLength",
            "SegmentLengthControl",
            "StreamInfResolution",
            "TargetDurationCompatibilityMode",
            "TimedMetadataId3Frame",
            "TimedMetadataId3Period",
            "TimestampDeltaMilliseconds",
            "AudioOnlyHeader",
            "CaptionSegmentLengthControl",
            "ImageBasedTrickPlay",
        }
    ),
}

# The only values of these members that the stand-in implements.
FIXED: dict[str, str | tuple[str, ...]] = {
    "DirectoryStructure": "SINGLE_DIRECTORY",
    "ManifestCompression": "NONE",
    "ManifestDurationFormat": "FLOATING_POINT",
    "OutputSelection": "MANIFESTS_AND_SEGMENTS",
    "ProgramDateTime": "EXCLUDE",
    "SegmentControl": "SEGMENTED_FILES",
    "StreamInfResolution": "INCLUDE",
    "ImageBasedTrickPlay": "NONE",
    "CodecSpecification": "RFC_6381",
    "ColorSpaceConversion": "FORCE_709",
    "ColorSpace": ("FOLLOW", "REC_601", "REC_709"),
    "SelectorType": ("TRACK", "STREAM"),
}


def unimplemented(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the members of the document, by boto's names, that this stand-in would have to ignore."""
    yield from _refused_members(settings, "settings", "")
    for number, source in enumerate(settings.get("Inputs", ())):
        yield from _refused_members(source, "input", f"/inputs/{number}")
        for name, selector in source.get("AudioSelectors", {}).items():
            yield from _refused_members(selector, "audioSelector", f"/inputs/{number}/audioSelectors/{name}")
            if len(selector.get("Tracks", ())) > 1 or len(selector.get("Streams", ())) > 1:
                yield f"/inputs/{number}/audioSelectors/{name}: only one track is implemented by the stand-in"
    for number, group in enumerate(settings.get("OutputGroups", ())):
        yield from _group(group, f"/outputGroups/{number}")


def _group(group: Mapping[str, Any], path: str) -> Iterator[str]:
    if "AutomatedEncodingSettings" in group:
        yield f"{path}/automatedEncodingSettings: is not implemented by the stand-in"
    hls = group.get("OutputGroupSettings", {}).get("HlsGroupSettings", {})
    yield from _refused_members(hls, "hlsGroupSettings", f"{path}/outputGroupSettings/hlsGroupSettings")
    for index, output in enumerate(group.get("Outputs", ())):
        yield from _output(output, f"{path}/outputs/{index}")


def _output(output: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _refused_members(output, "output", path)
    hls = output.get("OutputSettings", {}).get("HlsSettings", {})
    yield from _refused_members(hls, "hlsSettings", f"{path}/outputSettings/hlsSettings")
    video = output.get("VideoDescription", {})
    yield from _refused_members(video, "videoDescription", f"{path}/videoDescription")
    before = video.get("VideoPreprocessors", {})
    yield from _refused_members(before, "videoPreprocessors", f"{path}/videoDescription/videoPreprocessors")
    color = before.get("ColorCorrector", {})
    yield from _refused_members(color, "colorCorrector", f"{path}/videoDescription/videoPreprocessors/colorCorrector")
    for number, audio in enumerate(output.get("AudioDescriptions", ())):
        yield from _refused_members(audio, "audioDescription", f"{path}/audioDescriptions/{number}")


def _refused_members(part: Mapping[str, Any], kind: str, path: str) -> Iterator[str]:
    for name, value in part.items():
        if name not in IMPLEMENTED[kind]:
            yield f"{path}/{name}: is not implemented by the stand-in"
            continue
        fixed = FIXED.get(name, value)
        allowed = fixed if isinstance(fixed, tuple) else (fixed,)
        if value not in allowed:
            yield f"{path}/{name}: only {' and '.join(allowed)} is implemented by the stand-in"
