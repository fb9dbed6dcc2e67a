"""Read and write tables: delimited text, Parquet, Feather, JSON."""
