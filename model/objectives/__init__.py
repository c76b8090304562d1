"""Objectives: a head and the loss on what it says."""
