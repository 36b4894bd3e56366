"""Where a run's records go; third parties add sinks by the entry point `trackkit.sinks`."""
