"""Benchmarks against the NumPy reference: ``python -m benchmarks.table`` writes those of docs/benchmarks.md.

What the import costs stands apart: ``python -m benchmarks.import_time``. So does the comparison with other
libraries, ``python -m benchmarks.peers``, that with what the machine can do at best,
``python -m benchmarks.roofline``, what subnormal numbers cost, ``python -m benchmarks.subnormals``, and what
a change must not make worse, the number of instructions: ``python -m benchmarks.instructions``.
"""
