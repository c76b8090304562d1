"""What the three commands share: command lines from dataclasses, exit codes, run.json."""
