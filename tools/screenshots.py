"""The README's pictures of the report, from what `make demo visualise` wrote, on the generated set.

    python tools/screenshots.py            writes nbs/images/report.webp; needs Debian's chromium
"""
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "results" / "demo" / "report" / "index.html"


def shot(page, address: str, height: int) -> Image.Image:
    "What the report shows at an address."
    page.goto(f"{PAGE.as_uri()}{address}")
    page.wait_for_timeout(2500)
    return Image.open(io.BytesIO(page.screenshot(clip={"x": 0, "y": 0, "width": 1000, "height": height}))).convert("RGB")


def main() -> None:
    if not PAGE.exists(): raise SystemExit(f"screenshots: no {PAGE}. Run `make demo` and `make visualise` first.")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 1000, "height": 1000}, offline=True).new_page()
        pictures = [shot(page, "", 720), shot(page, "#conv4_2:448", 720)]
        browser.close()
    both = Image.new("RGB", (2012, 720), (200, 200, 200))
    for place, picture in enumerate(pictures): both.paste(picture, (1012 * place, 0))
    path = ROOT / "nbs" / "images" / "report.webp"
    both.resize((1408, 504), Image.Resampling.LANCZOS).save(path, quality=85, method=6)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
