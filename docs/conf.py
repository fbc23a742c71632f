"""The documentation as a site: pip install -e .[docs], then `sphinx-build -W docs site`."""

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from deployer import __version__

project = "deployer"
author = "the deployer team"
version = release = __version__
extensions = ["myst_parser"]
myst_heading_anchors = 4  # pages link to headings of each other, as they do where Markdown is read as it is
html_theme = "furo"
html_title = f"deployer {release}"


def setup(app: Sphinx) -> None:
    """Let examples name what they are, where nobody colours it."""
    app.add_lexer("csv", TextLexer)
