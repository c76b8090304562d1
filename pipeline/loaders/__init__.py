"""Loaders: shards to endless batches of clips, in an exact order."""
