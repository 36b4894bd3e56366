"""The native API, `/api/v1`: a module per noun, each with its endpoints in one table."""
