"""The delivery table, with CloudFront and without."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.delivery_urls import LIFETIMES, DeliveryUrls, default_rendition, may_ask_for
from api.security.auth import Caller, Role
from media.asset import AssetType, DeliveryClass, Rendition, Status, attachment
from media.aws.signed_urls import CloudFrontUrls, Credentials, bucket_address
from tests.fakes.assets import VIDEO

NOW = datetime(2026, 5, 24, 10, 11, 12, tzinfo=UTC)
PEM = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ASSET = replace(VIDEO, status=Status.READY, bucket="media")


def delivery_urls(*, cloudfront: bool, credentials_end: datetime | None = None) -> DeliveryUrls:
    async def credentials() -> Credentials:
        return Credentials("AKID", "secret", None, credentials_end)

    distribution = CloudFrontUrls("cdn.example", "KEYID", PEM) if cloudfront else None
    return DeliveryUrls(bucket_address("media", "eu-central-1"), "eu-central-1", credentials, distribution)


def rendition(key: str, name: str = "mp4") -> Rendition:
    return Rendition(name, key, "video/mp4", 9)


@pytest.mark.parametrize(
    ("delivery", "key", "host", "parameter"),
    [
        (DeliveryClass.PUBLIC, "public/i/w150.webp", "cdn.example", None),
        (DeliveryClass.COURSE_VIDEO, "processed/v/a.mp4", "cdn.example", "Expires"),
        (DeliveryClass.COURSE_PDF, "processed/d/a.pdf", "cdn.example", "Expires"),
        (DeliveryClass.WEBINAR_VOD, "processed/v/a.mp4", "cdn.example", "Expires"),
        (
            DeliveryClass.VERIFICATION_DOCUMENT,
            "private/d/a.pdf",
            "media.s3.eu-central-1.amazonaws.com",
            "X-Amz-Expires",
        ),
        (DeliveryClass.VERIFICATION_DOCUMENT, "public/d/a.pdf", "media.s3.eu-central-1.amazonaws.com", "X-Amz-Expires"),
        (DeliveryClass.COURSE_PDF, "uploads/d/a.pdf", "media.s3.eu-central-1.amazonaws.com", "X-Amz-Expires"),
    ],
)
async def test_url_follows_the_delivery_class(
    delivery: DeliveryClass, key: str, host: str, parameter: str | None
) -> None:
    asset = replace(ASSET, delivery=delivery)
    link = await delivery_urls(cloudfront=True).rendition(asset, rendition(key), NOW)
    parts = urlsplit(link.url)
    query = parse_qs(parts.query)
    assert (parts.hostname, parts.path) == (host, f"/{key}")
    if parameter is None:
        assert (query, link.expires_at) == ({}, None)
        return
    assert link.expires_at
    assert NOW + LIFETIMES[delivery] * 7 / 8 < link.expires_at <= NOW + LIFETIMES[delivery]
    if parameter == "Expires":
        assert int(query["Expires"][0]) == int(link.expires_at.timestamp())
    else:
        begun = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        assert begun + timedelta(seconds=int(query["X-Amz-Expires"][0])) == link.expires_at


@pytest.mark.parametrize("delivery", list(DeliveryClass))
async def test_without_cloudfront_all_is_presigned_and_ends_with_the_credentials(delivery: DeliveryClass) -> None:
    soon = NOW + timedelta(minutes=5)
    made = delivery_urls(cloudfront=False, credentials_end=soon)
    link = await made.rendition(replace(ASSET, delivery=delivery), rendition("public/i/w150.webp"), NOW)
    assert "X-Amz-Signature=" in link.url
    assert link.expires_at == soon
    assert await made.playback_end(replace(ASSET, delivery=delivery), NOW) == soon


@pytest.mark.parametrize("delivery", list(DeliveryClass))
async def test_copy_of_a_presigned_file_stays_fresh_for_no_longer_than_its_url_lives(delivery: DeliveryClass) -> None:
    asset = replace(ASSET, delivery=delivery)
    for soon in (None, NOW + timedelta(minutes=5)):
        made = delivery_urls(cloudfront=False, credentials_end=soon)
        link = await made.rendition(asset, rendition("processed/i/w150.webp"), NOW)
        sign = await made.entries(asset, "processed/v/7/", NOW, await made.playback_end(asset, NOW))
        for url in (link.url, sign("processed/v/7/a.ts")):
            query = parse_qs(urlsplit(url).query)
            kept = query["response-cache-control"][0]
            if delivery is DeliveryClass.PUBLIC:
                assert kept == "public, max-age=300"
                continue
            begun = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            assert link.expires_at
            assert kept == f"private, max-age={int((link.expires_at - begun).total_seconds())}"


async def test_domain_without_a_key_serves_public_files_and_nothing_else() -> None:
    soon = NOW + timedelta(minutes=5)

    async def credentials() -> Credentials:
        return Credentials("AKID", "secret", None, soon)

    bucket = bucket_address("media", "eu-central-1")
    made = DeliveryUrls(bucket, "eu-central-1", credentials, CloudFrontUrls("cdn.example"))
    public = replace(ASSET, delivery=DeliveryClass.PUBLIC)
    link = await made.rendition(public, rendition("public/i/w150.webp"), NOW)
    assert (link.url, link.expires_at) == ("https://cdn.example/public/i/w150.webp", None)
    assert await made.playback_end(public, NOW) > soon
    assert (await made.entries(public, "public/v/7/", NOW, soon))(
        "public/v/7/a.ts"
    ) == "https://cdn.example/public/v/7/a.ts"
    for delivery in set(DeliveryClass) - {DeliveryClass.PUBLIC}:
        asset = replace(ASSET, delivery=delivery)
        link = await made.rendition(asset, rendition("processed/v/7/a.mp4"), NOW)
        assert link.url.startswith("https://media.s3.eu-central-1.amazonaws.com/processed/v/7/a.mp4?X-Amz-")
        assert link.expires_at == await made.playback_end(asset, NOW) == soon
        sign = await made.entries(asset, "processed/v/7/", NOW, soon)
        assert sign("processed/v/7/a.ts").startswith(
            "https://media.s3.eu-central-1.amazonaws.com/processed/v/7/a.ts?X-Amz-"
        )


async def test_a_url_stays_the_same_for_a_while() -> None:
    for made in (delivery_urls(cloudfront=True), delivery_urls(cloudfront=False)):
        first, again = [
            await made.rendition(ASSET, rendition("processed/v/a.mp4"), NOW + timedelta(seconds=s)) for s in (0, 60)
        ]
        assert first == again


@pytest.mark.parametrize(
    ("delivery", "prefix", "start"),
    [
        (DeliveryClass.COURSE_VIDEO, "processed/v/7/", "https://cdn.example/processed/v/7/seg.ts?Policy="),
        (DeliveryClass.PUBLIC, "public/v/7/", "https://cdn.example/public/v/7/seg.ts"),
        (
            DeliveryClass.VERIFICATION_DOCUMENT,
            "private/v/7/",
            "https://media.s3.eu-central-1.amazonaws.com/private/v/7/seg.ts?",
        ),
    ],
)
async def test_playlist_entries_are_signed_by_delivery_class(delivery: DeliveryClass, prefix: str, start: str) -> None:
    asset = replace(ASSET, delivery=delivery)
    sign = await delivery_urls(cloudfront=True).entries(asset, prefix, NOW, NOW + timedelta(minutes=20))
    assert sign(f"{prefix}seg.ts").startswith(start)
    if delivery is DeliveryClass.COURSE_VIDEO:
        assert sign(f"{prefix}a").partition("?")[2] == sign(f"{prefix}b").partition("?")[2]


async def test_segment_urls_expire_with_the_playlist_token() -> None:
    end = await delivery_urls(cloudfront=False).playback_end(ASSET, NOW)
    sign = await delivery_urls(cloudfront=False).entries(ASSET, "processed/v/7/", NOW + timedelta(hours=1), end)
    query = parse_qs(urlsplit(sign("processed/v/7/seg.ts")).query)
    begun = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert begun + timedelta(seconds=int(query["X-Amz-Expires"][0])) == end


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mp4", "hls", "poster"], "hls"),
        (["w150", "w1920", "w640"], "w1920"),
        (["original"], "original"),
        (["m4a"], "m4a"),
        ([], None),
    ],
)
def test_default_rendition(names: list[str], expected: str | None) -> None:
    made = tuple(Rendition(name, name, "x/y", 1, width=int(name[1:]) if name[0] == "w" else None) for name in names)
    found = default_rendition(replace(ASSET, renditions=made))
    assert (found and found.name) == expected


def test_users_may_ask_for_few_delivery_classes_and_services_for_all() -> None:
    allowed = {
        (asset_type, delivery)
        for asset_type in AssetType
        for delivery in DeliveryClass
        if may_ask_for(Caller("doctor-1", Role.USER), asset_type, delivery)
    }
    assert allowed == {
        (AssetType.IMAGE, DeliveryClass.PUBLIC),
        (AssetType.IMAGE, DeliveryClass.VERIFICATION_DOCUMENT),
        (AssetType.VIDEO, DeliveryClass.COURSE_VIDEO),
        (AssetType.AUDIO, DeliveryClass.COURSE_VIDEO),
        (AssetType.DOCUMENT, DeliveryClass.COURSE_PDF),
        (AssetType.DOCUMENT, DeliveryClass.VERIFICATION_DOCUMENT),
    }
    for role in (Role.SERVICE, Role.ADMIN):
        assert all(
            may_ask_for(Caller("x", role), asset_type, delivery)
            for asset_type in AssetType
            for delivery in DeliveryClass
        )


@pytest.mark.parametrize("name", ['a"b.pdf', "a\r\nSet-Cookie: x=1.pdf", "ä;filename=b.exe", "x" * 255])
def test_file_name_cannot_break_the_content_disposition_header(name: str) -> None:
    header = attachment(name, "application/pdf")
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


@pytest.mark.parametrize(("name", "saved"), [("setup.exe", "setup.exe.pdf"), ("Befund.PDF", "Befund.PDF")])
def test_document_is_saved_with_the_suffix_of_its_type(name: str, saved: str) -> None:
    assert attachment(name, "application/pdf").startswith(f'attachment; filename="{saved}"; ')


async def test_many_signatures_are_made_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    sign = CloudFrontUrls.signed_url

    def recorded(self: CloudFrontUrls, key: str, end: datetime) -> str:
        threads.append(threading.get_ident())
        return sign(self, key, end)

    monkeypatch.setattr(CloudFrontUrls, "signed_url", recorded)
    urls = delivery_urls(cloudfront=True)
    files = [(ASSET, rendition(f"processed/v/{number}.mp4")) for number in range(5)]
    files.insert(2, (ASSET, rendition("uploads/v/film.mp4")))
    made = await urls.renditions(files, NOW)
    assert [urlsplit(one.url).path for one in made] == [f"/{file.key}" for _, file in files]
    assert len(threads) == 5
    assert threading.get_ident() not in threads
    assert await urls.renditions(files, NOW) == made
    assert len(threads) == 5, "the same URLs are handed out again"
