"""The on-disk format: write, read, verify. The contract is in README.md, "The shard directory"."""
