"""Media values: what they are, how `log` takes a snapshot of them, and the thread that encodes the snapshots."""
