"""The kernels again in NumPy and plain Python: slow, short, and equal bit for bit. Tests compare with them."""
