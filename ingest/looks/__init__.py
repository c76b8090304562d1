"""Commands that look at shard directories."""
