"""Split rows into training, validation and test."""
