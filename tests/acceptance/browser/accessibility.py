"""What axe says of a page, in light and in dark."""

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

GRAVE = ("serious", "critical")


async def grave_findings(page: Page) -> list[str]:
    """What axe finds serious or critical, in both colour schemes, with the places. Ends in the scheme it began with."""
    found: list[str] = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        # Colours are in transition for a moment; what axe sees then is nobody's.
        await page.evaluate("Promise.allSettled(document.getAnimations().map((animation) => animation.finished))")
        results = await Axe().run(page)
        found += [
            f"{scheme}: {violation['id']} ({violation['impact']}) at {node['target']}: {node['failureSummary']}"
            for violation in results.response["violations"]
            if violation["impact"] in GRAVE
            for node in violation["nodes"]
        ]
    return found
