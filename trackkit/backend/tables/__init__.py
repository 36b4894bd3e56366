"""Tables that runs logged, asked for a page at a time: DuckDB over their Parquet files, locked up with them."""
