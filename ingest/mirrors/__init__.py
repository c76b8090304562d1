"""AudioSet as others already keep it: parquet, tar, zip, plain files, another shard directory."""
