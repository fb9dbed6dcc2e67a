"""Reading and writing tables: CSV and its kin, Parquet, Feather, JSON."""
