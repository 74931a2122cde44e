"""Pictures of pages for the documentation: `SCREENSHOTS=docs/screenshots pytest tests/browser` takes them anew."""

import io
import os
from pathlib import Path

from PIL import Image
from playwright.async_api import Page

from tests.browser.conftest import PHONE

LARGEST = 150_000
"""Bytes a picture may have."""
_DESK = {"width": 1280, "height": 800}


async def pictures(page: Page, name: str, *, full: bool = True) -> None:
    """The page in the light, in the dark and on a phone, if pictures are asked for; the screen is as before then.

    Of a long page only what fits the screen, if not `full`.
    """
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    before = page.viewport_size
    for suffix, scheme, size in (("", "light", _DESK), ("-dark", "dark", _DESK), ("-phone", "light", PHONE)):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.set_viewport_size(size)  # type: ignore[arg-type]
        path = Path(folder) / f"{name}{suffix}.png"
        shot = Image.open(io.BytesIO(await page.screenshot(full_page=full, caret="initial")))
        shot.convert("RGB").quantize(200).save(path, optimize=True)
        assert path.stat().st_size < LARGEST, path
    await page.emulate_media(color_scheme="light")
    if before is not None:
        await page.set_viewport_size(before)
