"""Key-value caches of transformer language models."""
