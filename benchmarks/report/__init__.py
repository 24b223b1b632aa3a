"""The page that `codec bench` makes of its rows: one HTML file that works offline."""

from siglum.benchmarks.report.page import render

__all__ = ["render"]
