"""The version of trackkit."""

__version__ = "0.1.0"
