"""Names of the files of a model folder, and its largest input; all modules take them from here."""

from __future__ import annotations

WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""The two files without which a folder is no model; timm reads the same names."""

GRAPH = "model.onnx"
"""The network as an ONNX graph, which takes its weights from model.safetensors (in an export, it
holds them), in models that have one."""

OOD_GATE = "gate.safetensors"
"""The gate that turns away images that are not dermatoscopic (`models.ood_gate`)."""

SEEN = "seen.safetensors"
"""Perceptual hashes of the images that the model has seen (`images.near_duplicates`)."""

CASES, THUMBNAILS = "cases.safetensors", "thumbnails.safetensors"
"""The index of similar cases, and their pictures (`models.beside`), in models that have one."""

CARD, METRICS = "README.md", "metrics.json"
"""The model card, and the figures that it is written from."""

FIGURES = "figures"
"""The folder of the card's pictures."""

PREDICTIONS = "predictions.csv"
"""Logits of the validation and test images (`evaluation.predictions`)."""

EXTERNAL = "external.csv"
"""Logits of images from other hospitals (`evaluation.external`)."""

NEIGHBOURS = "cases.csv"
"""Features of the validation and test images, by which similar cases are found for them."""

MAPS = "maps.csv"
"""Figures of each test image's class map against its lesion (`evaluation.class_maps`)."""

PATTERNS = ("*.safetensors", GRAPH, "*.json", "*.md", "figures/*.png")
"""All that is ever fetched from a hub or pushed to one: no pickle and no code."""

LARGEST_SIDE = 1024
"""Height and width in pixels of the largest input that a model may take.

An image of the ISIC archive has 1024; memory and time grow with the square.
"""
