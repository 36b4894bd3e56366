"""What trackkit promises, measured beside its peers and physical floors in the same run."""
