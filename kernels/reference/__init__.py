"""NumPy oracles of the compiled kernels: slow, plain, equal bit for bit."""
