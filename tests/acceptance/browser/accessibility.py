"""Accessibility violations that axe finds on a page, in light and in dark."""

from typing import Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

IMPACTS = ("serious", "critical")
BOTH: tuple[Literal["light", "dark"], ...] = ("light", "dark")
ALL_RULES: dict[str, object] = {"resultTypes": ["violations"]}
RULES_OF_COLORS: dict[str, object] = {**ALL_RULES, "runOnly": ["color-contrast", "link-in-text-block"]}
"""The rules whose outcome depends on the color scheme. A second scheme needs no others."""


async def serious_violations(page: Page, *schemes: Literal["light", "dark"]) -> list[str]:
    """List the serious and critical violations in these color schemes, else in both. The page stays in the last one."""
    found: list[str] = []
    for number, scheme in enumerate(schemes or BOTH):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        # Colors change in a transition. axe must see the final ones.
        await page.evaluate("Promise.allSettled(document.getAnimations().map((animation) => animation.finished))")
        results = await Axe().run(page, options=RULES_OF_COLORS if number else ALL_RULES)
        found += [
            f"{scheme}: {violation['id']} ({violation['impact']}) at {node['target']}: {node['failureSummary']}"
            for violation in results.response["violations"]
            if violation["impact"] in IMPACTS
            for node in violation["nodes"]
        ]
    return found
