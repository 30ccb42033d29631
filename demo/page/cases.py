"""The similar cases of a reading, as the page shows them."""

from __future__ import annotations

from demo.page.view import CaseView, Gallery
from demo.reading import Reading
from dermhub import SimilarCases


def gallery(reading: Reading) -> Gallery | None:
    """Return the gallery of a reading; None for a model without an index, and without any case."""
    similar = reading.similar
    if similar is None or not similar.cases:
        return None
    items = tuple(
        CaseView(case.name, case.proof, case.malignant, case.data_uri, case.image_id, case.page)
        for case in similar.cases
    )
    return Gallery(
        similar.summary, similar.note, f"{similar.proofs} {similar.caution}", similar.credit, items
    )


def as_line(similar: SimilarCases | None) -> list[str]:
    """Return the counts as a line of the copied text; none where there are no cases."""
    return [f"Similar cases: {similar.summary}."] if similar and similar.cases else []
