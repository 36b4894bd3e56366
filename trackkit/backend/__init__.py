"""The store that keeps runs, and what serves it."""
