"""Where the parts of the course lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ROOT / "book" / "chapters"
NOTEBOOKS = ROOT / "notebooks"
BIBLIOGRAPHY = ROOT / "book" / "references.bib"
