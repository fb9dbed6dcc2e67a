"""One script per library in `benchmarks/peers.py`, run by the Python of its own environment.

Each script reads a spec (JSON), trains, writes the predictions for the validation rows as .npy (the second class's
probability, or the number), and prints a line of JSON. Scripts do not import each other, and only one imports tabvision.
"""
