"""The version, in a module of its own: every package may import it, and none may import the front door."""

__version__ = "0.1.0"
