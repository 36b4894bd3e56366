"""The `trackkit` command, a module per noun."""
