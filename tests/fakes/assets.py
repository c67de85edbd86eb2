"""An asset that no database holds."""

from datetime import UTC, datetime
from uuid import UUID

from media.asset import Asset, AssetType, DeliveryClass, Status

VIDEO = Asset(
    asset_id=UUID(int=7),
    owner_id="owner",
    asset_type=AssetType.VIDEO,
    status=Status.PROCESSING,
    delivery=DeliveryClass.COURSE_VIDEO,
    content_type="video/mp4",
    original_filename="talk.mp4",
    bucket="bucket",
    key="uploads/video/owner/7/talk.mp4",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    updated_at=datetime(2026, 1, 1, tzinfo=UTC),
    version_id="v",
)
