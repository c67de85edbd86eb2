"""The image stage: fetch the bound version, render it in a child process, store the renditions."""

import asyncio
from pathlib import Path

import structlog

from handlers.image.renderer import ImageRenderer, RenderedFile
from handlers.scratch import scratch_folder
from media.asset import Rendition, Stage, StageState, Status, output_prefix
from media.asset_store.stages import Claim, Commit, Facts, Note
from media.aws.s3 import ObjectStorage
from media.source_check import raise_changed, reject_missing_source
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

CACHE = "public, max-age=31536000, immutable"
"""Cache-Control of a rendition. Each attempt writes under its own prefix, so a stored object never changes."""
RENDITIONS = 48 * 1024 * 1024
"""Bytes of disk reserved for all renditions of a picture. The worst animation takes 42 MB."""


class ImageHandler:
    """Renders the picture of a claim. Raises RejectedError, RetryableError, UnavailableError."""

    def __init__(
        self, storage: ObjectStorage, renderer: ImageRenderer, metrics: Metrics, *, bucket: str, scratch: Path
    ) -> None:
        self._storage = storage
        self._renderer = renderer
        self._metrics = metrics
        self._bucket = bucket
        self._scratch = scratch

    async def __call__(self, claim: Claim) -> Commit:
        async with scratch_folder("image-", self._scratch, room=(claim.asset.size or 0) + RENDITIONS) as folder:
            source, outputs = folder / "source", folder / "out"
            await asyncio.to_thread(outputs.mkdir)
            with reject_missing_source():
                await self._storage.download(claim.asset.source, source)
            image = await self._renderer.render(source, outputs)
            prefix = output_prefix(claim.asset, Stage.IMAGE, claim.attempt)
            renditions = await asyncio.gather(*(self._store(prefix, file) for file in image.files))
        self._metrics.renditions.labels("image").inc(len(renditions))
        if claim.asset.sha256 and image.sha256 != claim.asset.sha256:
            raise_changed()
        facts = Facts(
            content_type=image.content_type,
            sha256=image.sha256,
            width=image.width,
            height=image.height,
            placeholder=image.placeholder,
            dominant_color=image.dominant_color,
        )
        made = ", ".join(f"{r.name} {r.width}x{r.height}" for r in renditions)
        notes = [*(Note("note", text) for text in image.notes), Note("rendered", made), Note("ready")]
        return Commit(StageState.DONE, Status.READY, facts=facts, renditions=renditions, notes=notes)

    async def _store(self, prefix: str, file: RenderedFile) -> Rendition:
        key = f"{prefix}{file.name}.webp"
        await self._storage.upload(self._bucket, key, file.path, file.content_type, cache=CACHE)
        return Rendition(file.name, key, file.content_type, file.bytes, file.width, file.height)
