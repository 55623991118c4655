"""How docs/ becomes a site: `ops/docs` builds it, `ops/docs serve` shows it while it is written.

Nothing in it is fetched from another host, neither by the build nor by a reader's browser.
"""

from importlib.metadata import version as version_of

project = "taskflow"
version = release = version_of("taskflow-pg")
html_title = "taskflow"

extensions = ["myst_parser"]
myst_heading_anchors = 4  # the anchors that GitHub makes, so that links work in both places
exclude_patterns = ["_build"]
smartquotes = False  # quotes in texts of the program stay as they are typed

html_theme = "furo"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_use_index = False  # of Python names, and there are none

suppress_warnings = [
    # The navigation may name a page that is still to come. One that has gone is not overlooked: links to it are errors.
    "toc.not_readable",
    # SQL that is shown shortened, with an ellipsis.
    "misc.highlighting_failure",
]
