"""Networks that take a mixture apart."""
