"""From a plan to shards: dealt, made in parallel, resumed, paced."""
