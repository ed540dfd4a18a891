"""PDF of the finished page, printed by an installed browser through Playwright."""

import asyncio
import concurrent.futures
import os
from pathlib import Path

from labkit.reporting.page.browser import INSTALL, BrowserMissing, require_browser
from labkit.runs.files import write_whole

PAGE_ADDRESS = "http://report.invalid/report.html"  # served from memory; .invalid never resolves (RFC 2606)
BROWSER_ARGS = (
    "--no-sandbox",  # Chromium refuses to start as root with it, and the page runs no foreign script
    "--disable-dev-shm-usage",  # containers have a /dev/shm of 64 MB
    *["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    *["--no-first-run", "--no-default-browser-check"],
)
LAUNCH_SECONDS, PAGE_SECONDS = 60, 300
HEADER = (
    '<div style="font:7pt system-ui,sans-serif;color:#666;width:100%;padding:0 16mm;'
    'display:flex;justify-content:{side}">{text}</div>'
)
TITLE = '<span class="title"></span>'  # which the browser fills, as it does the numbers
PAGE_NUMBERS = '<span><span class="pageNumber"></span> / <span class="totalPages"></span></span>'


def render_pdf(html: Path, pdf: Path, paper: str = "A4") -> Path:
    """Print a page of render_report, with tags, outline and page numbers; returns `pdf`. `paper` is a size that CSS
    knows; tables and figures are sized for A4's width. BrowserMissing without a browser that starts."""
    browser, text = str(require_browser()), html.read_text(encoding="utf-8")
    # In a thread of its own, since the caller may be a kernel whose event loop is already running.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        printed = pool.submit(asyncio.run, _print(text, paper, browser)).result()
    write_whole(pdf, lambda beside: beside.write_bytes(printed))
    return pdf


async def _print(html: str, paper: str, executable: str) -> bytes:
    from playwright.async_api import Error, async_playwright

    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(
                executable_path=executable,
                args=list(BROWSER_ARGS),
                env={k: v for k, v in os.environ.items() if k != "DISPLAY"},  # headless hangs on a dead one
                timeout=LAUNCH_SECONDS * 1000,
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
        except Error as error:
            reason = error.message.strip().splitlines()[0]
            raise BrowserMissing(f"{executable} does not start ({reason}); {INSTALL}") from error
        try:
            page = await browser.new_page(viewport={"width": 673, "height": 970})  # A4 less its margins
            page.set_default_timeout(PAGE_SECONDS * 1000)

            async def serve(route):
                if route.request.url == PAGE_ADDRESS:
                    await route.fulfill(body=html, content_type="text/html; charset=utf-8")
                else:
                    await route.abort()

            await page.route("**/*", serve)
            await page.emulate_media(media="print", color_scheme="light")
            await page.goto(PAGE_ADDRESS, wait_until="load")
            # The page's own style asks for A4, which is what a reader gets who prints it from a browser.
            await page.add_style_tag(content=f"@page {{ size: {paper}; }}")
            # A link to a file beside the page would carry our made-up address.
            await page.evaluate(
                "document.querySelectorAll('a[href]').forEach(a => "
                "{ if (!/^(#|https?:|mailto:)/.test(a.getAttribute('href'))) a.removeAttribute('href') })"
            )
            return await page.pdf(
                prefer_css_page_size=True,
                print_background=True,
                tagged=True,
                outline=True,
                display_header_footer=True,
                header_template=HEADER.format(side="flex-start", text=TITLE),
                footer_template=HEADER.format(side="center", text=PAGE_NUMBERS),
            )
        finally:
            await browser.close()
