"""GPU kernels in Triton: the same streams as the CPU's, bit for bit.

Nothing here is imported unless it is asked for: `siglum.kernels.gpu.rans` needs torch and triton
(``pip install "siglum[gpu]"``).
"""
