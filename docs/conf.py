"""Sphinx configuration: Markdown by MyST, the reference from docstrings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Importing Airflow for the reference writes a configuration file: into the build, not into the user's home.
os.environ["AIRFLOW_HOME"] = str(Path(__file__).parent / "_build" / "airflow")

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from airflow_joblib import __version__

project = "airflow-joblib"
author = "the airflow-joblib developers"
copyright = author  # noqa: A001 - the name that Sphinx reads
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_code"]
exclude_patterns = ["_build", "_extensions", "explanation/benchmarks/*.md", "explanation/reach/*.md"]

html_theme = "furo"
html_title = f"airflow-joblib {release}"
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say in words what an argument may be
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True
# What the reference names but does not contain: the documentation is built without a network, so there is no
# inventory of these projects to link to.
nitpick_ignore_regex = [
    ("py:.*", r"(Exception|TypeError|ValueError|TimeoutError|RuntimeError|BaseException)"),  # Python's own errors
    ("py:.*", r"(collections\.abc|typing|datetime|os|inspect)\..*"),  # Python's own types
    ("py:.*", r"airflow\..*"),  # Airflow's
    ("py:.*", r"Result_co"),  # a type variable
]
