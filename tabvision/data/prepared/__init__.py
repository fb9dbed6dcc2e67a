"""Tables larger than memory: stream them, encode them once into arrays on disk, and train from those."""
