"""Rating data: users, items, ratings, and negatives drawn for implicit feedback."""
