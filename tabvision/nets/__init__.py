"""Networks in plain torch.nn, never Lightning: they take tensors, and know nothing of schemas or batches."""
