"""The store: what sinks write and readers read. A module per noun, over the port in `database`."""
