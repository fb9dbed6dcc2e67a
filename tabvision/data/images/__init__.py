"""Image data: find files and labels, decode images in threads, augment and batch them."""
