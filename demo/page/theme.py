"""The theme of the page: style sheets, scripts, and colours with enough contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

SCRIPTS = ("page.js", "answer.js")
"""Scripts of the page, in the order in which they run."""

STYLES = ("style.css", "answer.css", "print.css")
"""Style sheets of the page; a later one wins."""

CONTRAST = {
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_label_text_color": "*neutral_600",
    "block_label_text_color_dark": "*neutral_200",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
    "color_accent": "*primary_700",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_hover_dark": "*primary_800",
    "checkbox_border_color": "*neutral_500",
    "checkbox_border_color_dark": "*neutral_400",
}
"""Colours in place of Gradio's own that contrast too little.

Text needs 4.5:1, and the edge of a box 3:1 (WCAG 2.2, 1.4.3 and 1.4.11).
"""


LETTERS = {
    "xxs": "0.5625rem",
    "xs": "0.625rem",
    "sm": "0.75rem",
    "md": "0.875rem",
    "lg": "1rem",
    "xl": "1.375rem",
    "xxl": "1.625rem",
}
"""Sizes of Gradio's own text, which grow with the size of letters that is set in the browser.

Gradio's are the same in pixels, which do not.
"""

FRONT = """<meta property="og:type" content="website">
<meta property="og:title" content="dermhub: how suspicious does a mole look to an AI?">
<meta property="og:description" content="Research demo for dermatoscopic images of skin lesions: \
how suspicious, which diagnoses fit, where the AI looked. Not a medical device.">
<meta name="description" content="Research demo for dermatoscopic images. Not a medical device.">
<script>
// The page is in English, and so are Gradio's own words in it, whatever the browser's language.
Object.defineProperty(navigator, "language", { get: () => "en" });
Object.defineProperty(navigator, "languages", { get: () => ["en"] });
</script>"""
"""Top of the head: words for link previews, and one language."""

ICON = HERE / "icon.png"
"""The page's icon, drawn by `docs/examples.py`."""


def theme() -> dict[str, Any]:
    """Return arguments for `launch` or `mount_gradio_app`.

    Nothing is fetched from elsewhere, and every text has a contrast of at least 4.5:1.
    """
    import gradio as gr

    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Default(
        text_size=gr.themes.sizes.Size(name="text_in_rem", **LETTERS),
        primary_hue="blue",
        neutral_hue="slate",
        font=system,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(**CONTRAST)
    # As `css`, Gradio would add every rule a second time behind a prefix that breaks some of them.
    styles = "".join(f"<style>{_text(name)}</style>" for name in STYLES)
    scripts = "".join(f"<script>{_text(name)}</script>" for name in SCRIPTS)
    return {"head": styles + scripts, "theme": theme, "favicon_path": str(ICON)}


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
