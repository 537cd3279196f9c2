"""Benchmarks against the NumPy reference: ``python -m benchmarks.table`` writes those of the README."""
