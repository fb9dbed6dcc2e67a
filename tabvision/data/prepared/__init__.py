"""Tables larger than memory: read in a stream, encoded once into arrays on the disk, and trained from there."""
