"""Downstream tasks: what a frozen model is judged by."""
