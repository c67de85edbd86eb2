"""The image stage: fetch a picture or a document, render it in a child process, store the renditions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog

from handlers.held_pictures import HeldPictures
from handlers.image.documents.renderer import PageRenderer
from handlers.image.renderer import ImageRenderer, RenderedFile
from handlers.scratch import scratch_folder
from media.asset import (
    Asset,
    AssetType,
    ObjectVersion,
    Rendition,
    Stage,
    StageState,
    Status,
    output_prefix,
    stored_cache_control,
)
from media.asset_store.stages import Claim, Commit, Facts, Note
from media.aws.s3 import ObjectStorage
from media.source_check import raise_changed, reject_missing_source
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

RENDITIONS = 48 * 1024 * 1024
"""Bytes of disk reserved for all renditions of a picture or document. The worst animation takes 42 MB."""
MOST_NOTES = 20
"""Lines of the timeline about pages that could not be made."""


@dataclass(frozen=True, slots=True)
class DocumentPages:
    """What documents need: their renderer, how many pages are made at `most`, and the asset with its renditions."""

    renderer: PageRenderer
    most: int
    find_asset: Callable[[UUID], Awaitable[Asset | None]]


class ImageHandler:
    """Renders the picture of a claim. Raises RejectedError, RetryableError, UnavailableError."""

    def __init__(
        self,
        storage: ObjectStorage,
        renderer: ImageRenderer,
        pages: DocumentPages,
        metrics: Metrics,
        pictures: HeldPictures,
        *,
        bucket: str,
        scratch: Path,
    ) -> None:
        self._storage = storage
        self._renderer = renderer
        self._pages = pages
        self._metrics = metrics
        self._pictures = pictures
        self._bucket = bucket
        self._scratch = scratch

    async def __call__(self, claim: Claim) -> Commit:
        is_document = claim.asset.asset_type is AssetType.DOCUMENT
        return await (self.render_document(claim) if is_document else self.render_picture(claim))

    async def render_picture(self, claim: Claim) -> Commit:
        """Render a picture in the sizes of the ladder."""
        async with scratch_folder("image-", self._scratch, room=(claim.asset.size or 0) + RENDITIONS) as folder:
            source, outputs = folder / "source", folder / "out"
            await asyncio.to_thread(outputs.mkdir)
            if pieces := self._pictures.take(claim.asset.asset_id):
                await asyncio.to_thread(_write, source, pieces)
            else:
                with reject_missing_source():
                    await self._storage.download(claim.asset.source, source)
            image = await self._renderer.render(source, outputs)
            renditions = await self._store(claim.asset, claim.attempt, image.files)
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

    async def render_document(self, claim: Claim) -> Commit:
        """Render the document that is served: the scan may have taken something out of the upload."""
        asset = await self._pages.find_asset(claim.asset.asset_id) or claim.asset
        served = next((r for r in asset.renditions if r.name == "original" and r.key != asset.key), None)
        version = ObjectVersion(self._bucket, served.key) if served else asset.source
        size = (served.bytes if served else asset.size) or 0
        async with scratch_folder("pages-", self._scratch, room=size + RENDITIONS) as folder:
            source, outputs = folder / "source.pdf", folder / "out"
            await asyncio.to_thread(outputs.mkdir)
            with reject_missing_source():
                await self._storage.download(version, source)
            pages = min(self._pages.most, asset.page_count or 1)
            document = await self._pages.renderer.render(source, outputs, pages=pages)
            renditions = await self._store(asset, claim.attempt, document.files)
        self._metrics.renditions.labels("image").inc(len(renditions))
        facts = Facts(placeholder=document.placeholder, dominant_color=document.dominant_color)
        made = ", ".join(f"{r.name} {r.width}x{r.height}" for r in renditions)
        left_out = [Note("note", f"page {number} was left out: {why}") for number, why in document.left_out.items()]
        notes = [*left_out[:MOST_NOTES], Note("rendered", made), Note("ready")]
        return Commit(StageState.DONE, Status.READY, facts=facts, renditions=renditions, notes=notes)

    async def _store(self, asset: Asset, attempt: int, files: Sequence[RenderedFile]) -> list[Rendition]:
        prefix, cache = output_prefix(asset, Stage.IMAGE, attempt), stored_cache_control(asset.delivery)

        async def store(file: RenderedFile) -> Rendition:
            key = f"{prefix}{file.name}.webp"
            await self._storage.upload(self._bucket, key, file.path, file.content_type, cache=cache)
            return Rendition(file.name, key, file.content_type, file.bytes, file.width, file.height)

        return await asyncio.gather(*map(store, files))


def _write(path: Path, pieces: Sequence[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(pieces)
