"""What benchmarks/training.py compares, a file each."""
