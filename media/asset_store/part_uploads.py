"""The multipart upload that an asset waits for. Its upload id leaves this service only in signed URLs."""

from dataclasses import dataclass
from uuid import UUID

from media.asset import Asset
from media.asset_store.database import Database
from media.asset_store.rows import asset_of


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """A multipart upload and its asset. `part_size` is bytes."""

    asset: Asset
    upload_id: str
    part_size: int


_REMEMBER = """
UPDATE assets SET upload_id = $2, part_size = $3
WHERE asset_id = $1 AND upload_id IS NULL AND version_id IS NULL AND status IN ('pending', 'expired')
RETURNING asset_id
"""


class MultipartUploadStore:
    """Multipart uploads by asset. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, asset_id: UUID, upload_id: str, part_size: int) -> bool:
        """Record the upload of an asset, once. False when there is one already, or the asset waits for no upload."""
        return await self._database.fetchval(_REMEMBER, asset_id, upload_id, part_size) is not None

    async def find(self, asset_id: UUID, *, owner_id: str) -> MultipartUpload | None:
        """Return the upload of an asset, if the asset is that owner's and is uploaded in parts."""
        record = await self._database.fetchrow(
            "SELECT * FROM assets WHERE asset_id = $1 AND owner_id = $2 AND upload_id IS NOT NULL", asset_id, owner_id
        )
        return MultipartUpload(asset_of(record), record["upload_id"], record["part_size"]) if record else None
