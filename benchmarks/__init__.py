"""Measurements that a command prints: rate and distortion against other codecs, and speed.

Every command names the machine, the settings and the versions beside its figures.
"""
