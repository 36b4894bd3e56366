"""The server: the native API, live hints and the dashboard over one store."""
