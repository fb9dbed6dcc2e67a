"""Networks in plain torch.nn, without Lightning: they take tensors and know nothing of schemas or batches."""
