"""Image data: files and labels found, images decoded in threads, augmented and batched."""
