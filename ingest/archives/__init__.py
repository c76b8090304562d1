"""Official archives and downloads of whole sets: found, read where they lie, planned."""
