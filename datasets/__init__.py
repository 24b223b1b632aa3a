"""Folders of media as arrays, and crops of them for training."""
