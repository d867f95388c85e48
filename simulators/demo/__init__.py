"""`machikoba demo`: a whole region on one computer, from machines to the page."""

from simulators.demo.command import main

__all__ = ["main"]
