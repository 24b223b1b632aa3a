"""Kernels: compiled code for the CPU (``_native``) and its NumPy oracles (``reference``), equal bit for bit; float
networks are equal up to rounding.

Every kernel has a plain C++ version; files for one instruction set (``*_avx2.cpp``, ``*_avx512.cpp``) are
chosen at run time and compute the same integers.
"""
