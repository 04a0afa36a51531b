"""Sphinx: `make docs` builds these pages into build/docs."""

from restante import __version__

project = "Restante"
version = release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns: list[str] = []
