"""The kernels again in NumPy and plain Python: slow, short, equal bit for bit; tests compare with them."""
