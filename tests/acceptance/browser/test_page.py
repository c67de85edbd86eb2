"""The gallery page in Chromium on the embedded stack, with real files."""

import asyncio

import aiohttp
from playwright.async_api import Route, expect

from media.errors import Code
from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.conftest import eicar, jpeg
from tests.conftest import EmbeddedStack
from tests.unit.handlers.image.documents.pages import endless, painted
from tests.unit.handlers.scan.documents.samples import document, opening, script

expect.set_options(timeout=TIMEOUT_MS)
PLAYING = "video => video.currentTime > 0.5 && video.videoWidth > 0"


async def test_a_photo_and_a_clip_become_ready_without_a_reload(
    visitor: Visitor, photo_file: File, clip_file: File
) -> None:
    await visitor.page.evaluate("window.sameDocument = true")
    await visitor.drop(photo_file, clip_file)
    await expect(visitor.page.locator(".card")).to_have_count(2)
    for name in ("photo.jpg", "clip.mp4"):
        await expect(visitor.card(name, "ready")).to_be_visible()
        await expect(visitor.card(name).locator("img.is-loaded")).to_be_visible()
    assert await visitor.page.evaluate("window.sameDocument"), "the page was reloaded"
    assert "token" not in visitor.page.url


async def test_a_photo_is_shown_in_all_its_sizes(visitor: Visitor, photo_file: File) -> None:
    await visitor.drop(photo_file)
    await expect(visitor.card("photo.jpg", "ready")).to_be_visible()
    viewer = await visitor.open("photo.jpg")
    await expect(viewer.locator(".rendition-name strong")).to_have_text(["w150", "w320", "w640", "w1024", "w1920"])
    picture = viewer.locator("img.picture")
    await viewer.get_by_role("button", name="w320").first.click()
    await expect(picture).to_have_js_property("naturalWidth", 320)
    story = viewer.locator(".timeline [data-code]:not([data-code=event_sent]) .event")  # Those come when they like.
    await expect(story).to_have_text(
        ["Upload announced", "File arrived in storage", "Scanned: no malware found", "Made for the web", "Ready to use"]
    )


async def test_pages_of_a_document_are_shown_and_leafed_through(visitor: Visitor) -> None:
    blue = b"0 0 1 rg 0 0 200 200 re f"
    content = document(opening(script()), painted(blue, page=1), pages=3)
    await visitor.drop(File("letter.pdf", "application/pdf", content))
    card = visitor.card("letter.pdf", "ready")
    await expect(card.locator("img.is-loaded")).to_be_visible()
    await expect(card.locator(".card-meta")).to_contain_text("3 pages")
    await expect(card.locator(".card-note")).to_contain_text("without what acts by itself. Taken out: JavaScript (1).")
    viewer = await visitor.open("letter.pdf")
    await expect(viewer.locator(".page-now")).to_have_text("Page 1 of 3")
    await expect(viewer.get_by_role("button", name="Previous page")).to_be_disabled()
    await viewer.get_by_role("button", name="Next page").click()
    await expect(viewer.locator(".page-now")).to_have_text("Page 2 of 3")
    await expect(viewer.locator("img.picture")).to_have_js_property("naturalWidth", 1280)
    await expect(viewer.get_by_role("button", name="Next page")).to_be_disabled()
    await expect(viewer.get_by_role("link", name="Open the document")).to_be_visible()


async def test_document_without_a_preview_says_so(visitor: Visitor) -> None:
    await visitor.drop(File("maze.pdf", "application/pdf", document(endless)))
    await expect(visitor.card("maze.pdf", "ready").locator(".card-note")).to_contain_text("There is no preview")
    viewer = await visitor.open("maze.pdf")
    await expect(viewer.locator(".stage")).to_contain_text("It can be opened all the same")


async def test_a_clip_plays_and_its_rungs_can_be_chosen(visitor: Visitor, clip_file: File) -> None:
    await visitor.drop(clip_file)
    await expect(visitor.card("clip.mp4", "ready")).to_be_visible()
    viewer = await visitor.open("clip.mp4")
    video = viewer.locator("video")
    quality = viewer.get_by_label("Quality")
    await expect(quality.locator("option")).to_have_text(["Auto", "360p", "270p"])
    await video.evaluate("video => { video.loop = true; return video.play(); }")
    await visitor.page.wait_for_function(PLAYING, arg=await video.element_handle())
    for rung in ("270p", "360p"):
        await quality.select_option(rung)
        await expect(viewer.locator(".quality-now")).to_have_text(f"playing {rung}")


async def test_malware_is_refused_in_plain_words(visitor: Visitor) -> None:
    await visitor.drop(File("invoice.jpg", "image/jpeg", eicar()))
    card = visitor.card("invoice.jpg", "rejected")
    await expect(card.locator(".card-note")).to_contain_text("Malware was found in this file")
    await expect(visitor.page.get_by_role("alert")).to_contain_text("invoice.jpg was rejected")
    await expect(card.get_by_role("button", name="Copy a link")).to_have_count(0)
    viewer = await visitor.open("invoice.jpg")
    await expect(viewer.locator(".stage-note")).to_contain_text("quarantine")
    await expect(viewer.locator('.timeline [data-code="infected"] .event')).to_have_text("Malware found")


async def test_an_empty_file_is_refused_in_plain_words(visitor: Visitor) -> None:
    await visitor.drop(File("empty.png", "image/png", b""))
    await expect(visitor.card("empty.png", "rejected").locator(".card-note")).to_contain_text("The file is empty")


async def test_a_file_of_no_known_kind_is_not_sent(visitor: Visitor) -> None:
    await visitor.drop(File("notes.txt", "text/plain", b"milk, eggs"))
    await expect(visitor.page.get_by_role("alert")).to_contain_text("notes.txt is not a picture")
    await expect(visitor.page.locator(".card")).to_have_count(0)


async def test_file_whose_type_the_system_does_not_know_is_sent_by_its_name(visitor: Visitor) -> None:
    await visitor.drop(File("KNEE.JPG", "", jpeg(300, 200)))
    await visitor.card("KNEE.JPG", "ready").wait_for()


async def test_links_are_copied_and_work(visitor: Visitor) -> None:
    await visitor.drop(File("small.jpg", "image/jpeg", jpeg(400, 300)))
    await visitor.card("small.jpg", "ready").get_by_role("button", name="Copy a link to small.jpg").click()
    await expect(visitor.page.get_by_role("status").filter(has_text="Link copied")).to_be_visible()
    url = await visitor.page.evaluate("navigator.clipboard.readText()")
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "image/webp")


async def test_it_can_be_used_without_a_mouse(visitor: Visitor) -> None:
    await visitor.drop(*(File(f"{name}.jpg", "image/jpeg", jpeg(300, 200, i)) for i, name in enumerate("ab")))
    for name in ("a.jpg", "b.jpg"):
        await expect(visitor.card(name, "ready")).to_be_visible()
    keyboard, opener = visitor.page.keyboard, visitor.card("b.jpg").locator(".card-open")
    await opener.focus()
    await keyboard.press("Enter")
    await expect(visitor.page.get_by_role("button", name="Close")).to_be_focused()
    await keyboard.press("Escape")
    await expect(opener).to_be_focused()
    await visitor.card("b.jpg").get_by_role("button", name="Delete b.jpg").focus()
    await keyboard.press("Enter")
    await expect(visitor.page.get_by_role("dialog", name="Delete this file?")).to_be_visible()
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await expect(visitor.card("b.jpg")).to_have_count(0)
    await expect(visitor.card("a.jpg").locator(".card-open")).to_be_focused()


async def test_focus_stays_on_a_card_whose_buttons_change(visitor: Visitor) -> None:
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        await released.wait()
        await route.continue_()

    await visitor.page.route("**/uploads/image/**", hold)
    await visitor.drop(File("photo.jpg", "image/jpeg", jpeg(300, 200)))
    card = visitor.card("photo.jpg")
    await card.get_by_role("button", name="Cancel the upload of photo.jpg").focus()
    released.set()
    await expect(visitor.card("photo.jpg", "ready")).to_be_visible()
    await expect(card.locator(".card-open")).to_be_focused()


async def test_late_close_event_of_the_viewer_changes_nothing(visitor: Visitor) -> None:
    await visitor.drop(File("photo.jpg", "image/jpeg", jpeg(300, 200)))
    await expect(visitor.card("photo.jpg", "ready")).to_be_visible()
    viewer = await visitor.open("photo.jpg")
    await viewer.dispatch_event("close")  # The event of an earlier viewer, on a busy machine.
    await expect(viewer.locator("img.picture")).to_be_visible()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.card("photo.jpg").locator(".card-open")).to_be_focused()
    delete = visitor.card("photo.jpg").get_by_role("button", name="Delete photo.jpg")
    await delete.focus()
    await visitor.page.locator("#viewer").dispatch_event("close")
    await expect(delete).to_be_focused()


async def test_the_filters_narrow_the_gallery(visitor: Visitor) -> None:
    await visitor.drop(File("good.jpg", "image/jpeg", jpeg(300, 200)), File("bad.jpg", "image/jpeg", b"not a picture"))
    await expect(visitor.card("good.jpg", "ready")).to_be_visible()
    await expect(visitor.card("bad.jpg", "rejected")).to_be_visible()
    await visitor.page.get_by_label("Status").select_option("rejected")
    await expect(visitor.page.locator(".card .card-name")).to_have_text(["bad.jpg"])
    await visitor.page.get_by_role("radio", name="Videos").check(force=True)  # The label's text covers the input.
    await expect(visitor.page.get_by_text("Nothing matches")).to_be_visible()


async def test_nothing_is_wider_than_the_screen(visitor: Visitor) -> None:
    name = "a-name-that-never-seems-to-end-" * 4 + ".jpg"
    await visitor.drop(File(name, "image/jpeg", jpeg(300, 200)))
    await expect(visitor.card(name, "ready")).to_be_visible()
    await visitor.open(name)
    for width in (360, 390, 1280):
        await visitor.page.set_viewport_size({"width": width, "height": 800})
        assert await visitor.page.evaluate("document.documentElement.scrollWidth") <= width
        assert await visitor.page.evaluate("document.querySelector('.viewer-frame').scrollWidth") <= width


async def test_embedded_stack_signs_its_own_page_in(anonymous_visitor: Visitor) -> None:
    await anonymous_visitor.page.goto(anonymous_visitor.url)
    await expect(anonymous_visitor.page.locator("#who-name")).to_have_text("page · user")
    await expect(anonymous_visitor.page.locator("#scanner")).not_to_be_empty()


async def test_without_a_token_it_asks_for_one(anonymous_visitor: Visitor, stack: EmbeddedStack) -> None:
    await anonymous_visitor.page.route("**/dev/token", lambda route: route.fulfill(status=404))
    await anonymous_visitor.page.goto(anonymous_visitor.url)
    field = anonymous_visitor.page.get_by_label("Access token")
    await field.fill("no token at all")
    await field.press("Enter")
    await expect(field).to_be_visible()  # The token was refused, so the page asks again.
    await expect(field).to_have_value("")
    await field.fill(stack.token(user="typist"))
    await field.press("Enter")
    await expect(anonymous_visitor.page.locator("#who-name")).to_have_text("typist · user")
    await expect(anonymous_visitor.page.get_by_text("No files yet")).to_be_visible()


async def test_the_stacks_token_is_for_this_machine_only(stack: EmbeddedStack) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{stack.api_url}/dev/token") as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        async with http.get(f"{stack.api_url}/dev/token", headers={"Host": "rebound.example"}) as answer:
            assert answer.status == 404


async def test_every_code_has_words_on_the_page(visitor: Visitor) -> None:
    codes = await visitor.page.evaluate(
        "import('/static/js/messages.js').then((messages) => Object.keys(messages.REASONS))"
    )
    assert set(codes) == {code.value for code in Code}
