"""One script for each library of `benchmarks/peers.py`, run by the Python of its own environment.

Each reads a spec (JSON), trains, writes the validation rows' predictions as .npy (the second class's probability, or the
number), and prints a line of JSON. None imports another, and only tabvision's own run imports tabvision.
"""
