"""The delivery table: which class an upload may ask for, which kind of URL it gets, and how long that URL lives.

Who may see an asset: `asset_for` in `api/views/assets.py`.
"""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from api.security.auth import Caller, Role
from media.asset import PUBLIC_CACHE, Asset, AssetType, DeliveryClass, Rendition, attachment
from media.aws.signed_urls import BucketAddress, CloudFrontUrls, Credentials, S3Presigner, ValidityWindow, window

UPLOAD_LIFETIME = timedelta(minutes=15)
CACHE_LIMIT = 10_000
"""URLs that are cached, of some 600 bytes each."""
LIFETIMES = {
    DeliveryClass.PUBLIC: timedelta(hours=24),  # only where there is no CloudFront: its public URLs do not end
    DeliveryClass.COURSE_VIDEO: timedelta(hours=4),
    DeliveryClass.COURSE_PDF: timedelta(hours=2),
    DeliveryClass.WEBINAR_VOD: timedelta(hours=8),
    DeliveryClass.VERIFICATION_DOCUMENT: timedelta(minutes=30),
}
LONGEST_PRIVATE = max(lifetime for delivery, lifetime in LIFETIMES.items() if delivery is not DeliveryClass.PUBLIC)
"""Life of the longest URL of a file that not everybody may see. A change of delivery may pass one on to a shorter."""
ORIGINAL_LIFETIME = timedelta(minutes=30)
"""Life of the URL of an uploaded file, whatever the delivery of its renditions."""
_FOR_USERS = {
    AssetType.IMAGE: {DeliveryClass.PUBLIC, DeliveryClass.VERIFICATION_DOCUMENT},
    AssetType.VIDEO: {DeliveryClass.COURSE_VIDEO},
    AssetType.AUDIO: {DeliveryClass.COURSE_VIDEO},
    AssetType.DOCUMENT: {DeliveryClass.COURSE_PDF, DeliveryClass.VERIFICATION_DOCUMENT},
}
_PICTURE = re.compile(r"w[0-9]+")


def may_ask_for(caller: Caller, asset_type: AssetType, delivery: DeliveryClass) -> bool:
    """Say whether this caller may have uploads of this type delivered in this way."""
    return caller.role is not Role.USER or delivery in _FOR_USERS[asset_type]


def default_rendition(asset: Asset) -> Rendition | None:
    """Choose `hls`, else the largest picture, else `original`, else the rendition with the most bytes.

    A document's is `original`: its pictures only show some pages.
    """
    by_name = {rendition.name: rendition for rendition in asset.renditions}
    if asset.asset_type is AssetType.DOCUMENT and "original" in by_name:
        return by_name["original"]
    pictures = [rendition for rendition in asset.renditions if _PICTURE.fullmatch(rendition.name)]
    largest = max(pictures, key=lambda rendition: rendition.width or 0, default=None)
    last = max(asset.renditions, key=lambda rendition: rendition.bytes, default=None)
    return by_name.get("hls") or largest or by_name.get("original") or last


@dataclass(frozen=True, slots=True)
class DeliveryUrl:
    """A URL and when it expires. None: it does not expire."""

    url: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class UploadUrl:
    """A URL to PUT to, and the headers that belong to the PUT."""

    url: str
    headers: dict[str, str]


class SignedUrls:
    """A cache of URLs. A URL stays the same for a while so that browsers can cache it, and RSA costs a millisecond."""

    def __init__(self) -> None:
        self._urls: dict[tuple[object, ...], str] = {}

    def get_or_sign(self, key: tuple[object, ...], sign: Callable[[], str]) -> str:
        """Return the cached URL for `key`, which holds all that it depends on, or make it with `sign`."""
        url = self._urls.get(key)
        if url is None:
            if len(self._urls) >= CACHE_LIMIT:
                self._urls.clear()
            url = self._urls[key] = sign()
        return url


class DeliveryUrls:
    """Make URLs. `credentials` returns those that sign now. Whatever CloudFront does not serve is presigned for S3."""

    def __init__(
        self,
        bucket: BucketAddress,
        region: str,
        credentials: Callable[[], Awaitable[Credentials]],
        cloudfront: CloudFrontUrls | None,
    ) -> None:
        self._bucket = bucket
        self._region = region
        self._credentials = credentials
        self._cloudfront = cloudfront
        self._signed = SignedUrls()

    @property
    def storage_origin(self) -> str:
        """The origin of presigned URLs."""
        return f"{self._bucket.scheme}://{self._bucket.host}"

    async def upload(self, key: str, content_type: str, size: int | None, sha256: str | None = None) -> UploadUrl:
        """Make the URL of a PUT of this content type and, when given, of exactly this many bytes with this digest.

        The precondition is advised, not signed: a repeated PUT makes another version, and one version is bound.
        """
        signed = {"Content-Type": content_type}
        if sha256:
            signed["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
        length = {} if size is None else {"Content-Length": str(size)}
        presigner = S3Presigner(self._bucket, self._region, await self._credentials(), datetime.now(UTC))
        seconds = int(UPLOAD_LIFETIME.total_seconds())
        url = presigner.url(key, seconds=seconds, method="PUT", headers=signed | length)
        return UploadUrl(url, {**signed, "If-None-Match": "*"})

    async def parts(self, key: str, upload_id: str) -> Callable[[int, int], str]:
        """Return a function that makes the URL to PUT one part to, of the part's number and its exact size in bytes."""
        presigner = S3Presigner(self._bucket, self._region, await self._credentials(), datetime.now(UTC))
        seconds = int(UPLOAD_LIFETIME.total_seconds())

        def sign(number: int, size: int) -> str:
            query = {"partNumber": str(number), "uploadId": upload_id}
            return presigner.url(key, seconds=seconds, method="PUT", query=query, headers={"Content-Length": str(size)})

        return sign

    async def rendition(self, asset: Asset, rendition: Rendition, now: datetime) -> DeliveryUrl:
        """Make the URL of one file, by the asset's delivery class."""
        return (await self.renditions([(asset, rendition)], now))[0]

    async def renditions(self, files: Sequence[tuple[Asset, Rendition]], now: datetime) -> list[DeliveryUrl]:
        """Make the URLs of files, in their order; of more than one in a thread, as each may need an RSA signature."""
        needs_credentials = any(self._cloudfront_for(asset, rendition.key) is None for asset, rendition in files)
        credentials = await self._credentials() if needs_credentials else None

        def make() -> list[DeliveryUrl]:
            return [self._url(asset, rendition, credentials, now) for asset, rendition in files]

        return make() if len(files) <= 1 else await asyncio.to_thread(make)

    def _url(self, asset: Asset, rendition: Rendition, credentials: Credentials | None, now: datetime) -> DeliveryUrl:
        is_upload = rendition.key == asset.key and asset.asset_type is not AssetType.DOCUMENT
        span = window(now, ORIGINAL_LIFETIME if is_upload else LIFETIMES[asset.delivery])
        if cloudfront := self._cloudfront_for(asset, rendition.key):
            if _is_public(asset, rendition.key):
                return DeliveryUrl(cloudfront.plain_url(rendition.key), None)
            known = rendition.key, span
            return DeliveryUrl(
                self._signed.get_or_sign(known, lambda: cloudfront.signed_url(rendition.key, span.end)), span.end
            )
        assert credentials  # noqa: S101 - they were asked for, as CloudFront does not serve this file
        end = _sooner(span.end, credentials.expires_at)
        is_public = asset.delivery is DeliveryClass.PUBLIC and rendition.key != asset.key
        query = {"response-cache-control": PUBLIC_CACHE if is_public else _private_cache(span.start, end)}
        if rendition.key == asset.key and asset.version_id:
            query["versionId"] = asset.version_id  # an original is served in the version that was scanned
        if rendition.name == "original":  # saved, not shown
            query["response-content-type"] = rendition.content_type
            query["response-content-disposition"] = attachment(asset.original_filename, rendition.content_type)
        key = (rendition.key, span, credentials.access_key, credentials.token, *query.items())
        url = self._signed.get_or_sign(
            key,
            lambda: S3Presigner(self._bucket, self._region, credentials, span.start).url(
                rendition.key, seconds=span.seconds, query=query
            ),
        )
        return DeliveryUrl(url, end)

    def serves_unsigned(self, asset: Asset, rendition: Rendition) -> bool:
        """Say whether CloudFront serves a file to everybody, so that its URL neither needs a signature nor ends."""
        return _is_public(asset, rendition.key) and self._cloudfront_for(asset, rendition.key) is not None

    async def playback_end(self, asset: Asset, now: datetime) -> datetime:
        """Return when a playback that begins now must end. Segments cannot outlive the credentials that sign them."""
        end = window(now, LIFETIMES[asset.delivery]).end
        if self._cloudfront_for(asset, "public/" if asset.delivery is DeliveryClass.PUBLIC else "processed/"):
            return end
        return _sooner(end, (await self._credentials()).expires_at)

    async def entries(self, asset: Asset, prefix: str, now: datetime, end: datetime) -> Callable[[str], str]:
        """Return a function that makes the URL of any key below `prefix` (with its slash), valid until `end`.

        Call this once per playlist: the function holds what thousands of signatures share.
        """
        cloudfront = self._cloudfront_for(asset, prefix)
        if cloudfront:
            if _is_public(asset, prefix):
                return cloudfront.plain_url
            signed = cloudfront.wildcard_query(prefix, end)
            return lambda key: f"{cloudfront.plain_url(key)}?{signed}"
        span = ValidityWindow(window(now, LIFETIMES[asset.delivery]).start, end)
        presigner = S3Presigner(self._bucket, self._region, await self._credentials(), span.start)
        is_public = asset.delivery is DeliveryClass.PUBLIC
        query = {"response-cache-control": PUBLIC_CACHE if is_public else _private_cache(span.start, end)}
        return lambda key: presigner.url(key, seconds=span.seconds, query=query)

    def _cloudfront_for(self, asset: Asset, key: str) -> CloudFrontUrls | None:
        """Return CloudFront if it serves this key: files that our encoders wrote, never private files or uploads.

        Without a key to sign with it serves public files only.
        """
        if self._cloudfront is None or asset.delivery is DeliveryClass.VERIFICATION_DOCUMENT:
            return None
        served = ("public/", "processed/") if self._cloudfront.signs else ("public/",)
        return self._cloudfront if key.startswith(served) else None


def _is_public(asset: Asset, key: str) -> bool:
    """Say whether a file is there for everybody: by the delivery, and CloudFront must serve it without a signature."""
    return asset.delivery is DeliveryClass.PUBLIC and key.startswith("public/")


def _private_cache(start: datetime, end: datetime) -> str:
    """Return the Cache-Control that S3 answers to a URL with: a copy stays fresh for no longer than a URL lives."""
    return f"private, max-age={max(0, int((end - start).total_seconds()))}"


def _sooner(end: datetime, other: datetime | None) -> datetime:
    return min(end, other) if other else end
