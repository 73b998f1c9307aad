//! Findings in, report out: HTML, Markdown, CSV and LaTeX with SVG figures.
