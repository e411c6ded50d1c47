"""Coverage-guided fuzzing of everything that reads what strangers send; `__main__` runs it."""
