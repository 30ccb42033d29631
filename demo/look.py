"""How the page looks: style.css, page.js, and colours that can be read by everybody, for `Blocks.launch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def look() -> dict[str, Any]:
    """Arguments for `launch`: nothing is fetched from elsewhere, and every text has a contrast of at least 4.5:1."""
    import gradio as gr

    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=system, font_mono=["ui-monospace", "Consolas", "monospace"]
    )
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return {
        "css": (HERE / "style.css").read_text(encoding="utf-8"),
        "head": f"<script>{script}</script>",
        "theme": theme,
    }
