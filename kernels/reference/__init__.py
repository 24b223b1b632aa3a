<<<<<<< HEAD
"""NumPy oracles of the compiled kernels: slow, plain, equal bit for bit."""
=======
"""The kernels again in NumPy and plain Python: slow, short, equal bit for bit; tests compare with them."""
>>>>>>> container
