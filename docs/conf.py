"""Settings of Sphinx for `make docs`. The pages stay plain Markdown; `_site` adds contents, reference and languages."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_site"))

project = "misread"
author = "misread"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "docstrings", "navigation", "languages"]
exclude_patterns = ["_site"]
templates_path = ["_site/templates"]
html_static_path = ["_site/static"]
html_css_files = ["site.css"]

nitpicky = False  # annotations name classes of other packages, which have no page here
default_role = "code"  # docstrings have `names` in single backquotes, as in Markdown
highlight_language = "sh"
nb_execution_mode = "off"  # the notebooks are stored with their outputs
myst_heading_anchors = 3
myst_enable_extensions = ["html_image"]
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = "misread"
html_favicon = "_site/static/icon.svg"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # the summaries are fetched, which a browser refuses for pages opened from disk
html_theme_options = {"top_of_page_buttons": []}
html_sidebars = {
    "**": [
        "sidebar/brand.html", "sidebar/search.html", "sidebar/translation.html", "sidebar/scroll-start.html",
        "sidebar/navigation.html", "sidebar/scroll-end.html",
    ]
}  # fmt: skip
