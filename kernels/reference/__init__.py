"""NumPy oracles of the compiled kernels: slow, plain, and equal bit for bit."""
