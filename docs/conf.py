"""How the documentation is built: pages in Markdown, one page per public name made from its docstring."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from generated import write_pages  # noqa: E402

from alliance_stats import __version__  # noqa: E402

project = "alliance_stats"
author = copyright = "The alliance_stats authors"
release = version = __version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_design"]
exclude_patterns = ["_build", "jupyter_execute"]
nitpicky = False
suppress_warnings = ["autosummary.import_cycle"]  # a public name is documented from the package that lists it

nb_execution_mode = "off"  # notebooks hold their outputs; the tests run them again
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "alliance_stats"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "alliance_stats"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

write_pages(HERE)
