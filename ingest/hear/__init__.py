"""The tasks of the HEAR benchmark: as its kit prepares them, and from the original data sets."""
