"""Adapters that translate framework events into calls of a run, one module per framework."""
