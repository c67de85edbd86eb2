"""URLs of a film that live for seconds: what the API answers to `/url`, with another end.

Playlists and segments are the API's and the storage's own, and end when the real ones would: with the token.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from playwright.async_api import Page, Route
from pydantic import SecretStr

from api.hls_playback import PlaybackTokens
from media.setting_rules import each_secret
from tests.conftest import EmbeddedStack


@dataclass
class ShortLives:
    """Answers for `asset_id` as its `/url` does, with an end after `seconds`. `ends` has each that was told."""

    stack: EmbeddedStack
    asset_id: str
    seconds: float
    ends: list[datetime] = field(default_factory=list)

    async def answer_at(self, page: Page, path: str) -> None:
        """Answer at a path of the page's own origin."""
        await page.route(f"{self.stack.api_url}{path}", self._answer)

    async def _answer(self, route: Route) -> None:
        end = (datetime.now(UTC) + timedelta(seconds=self.seconds)).replace(microsecond=0)
        self.ends.append(end)
        secrets = each_secret(SecretStr(self.stack.settings["MEDIA_CALLBACK_SECRET"]))
        token = PlaybackTokens(*secrets).make(UUID(self.asset_id), end)
        url = f"{self.stack.api_url}/api/v1/media/assets/{self.asset_id}/hls/master.m3u8?token={token}"
        await route.fulfill(json={"url": url, "rendition": "hls", "expires_at": end.isoformat()})
