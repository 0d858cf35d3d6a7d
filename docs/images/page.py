"""Makes the pictures of a report's page in the docs: what a first screen shows.

    python docs/images/page.py [PAGE.html] [FOLDER]

page_1280.png and page_390.png, of docs/examples/cifar10_gce.html, in Chromium; it must
have playwright, pillow and a chromium on the path.
"""

import io
import pathlib
import shutil
import sys

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = pathlib.Path(__file__).parent
page = pathlib.Path(
    sys.argv[1] if sys.argv[1:] else HERE / "../examples/cifar10_gce.html"
)
folder = pathlib.Path(sys.argv[2]) if sys.argv[2:] else HERE

with sync_playwright() as started:
    # Chromium's sandbox does not run as root.
    browser = started.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox"]
    )
    for width, height in ((1280, 800), (390, 844)):
        window = browser.new_page(viewport={"width": width, "height": height})
        window.goto(page.resolve().as_uri())
        picture = Image.open(io.BytesIO(window.screenshot())).convert("RGB")
        # A third of the bytes, and nothing is seen of it.
        small = picture.quantize(256, dither=Image.Dither.NONE)
        small.save(folder / f"page_{width}.png", optimize=True)
        print(folder / f"page_{width}.png")
    browser.close()
