"""Encoders: images to embeddings, one for each task."""
