"""The documentation site: `make docs`. Every warning is an error; search works without a network."""

project = "worker-vllm"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "worker-vllm"
html_copy_source = False
html_show_sphinx = False
myst_heading_anchors = 4
nitpicky = True
