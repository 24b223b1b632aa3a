"""The image codec: a learned transform with an exact integer prior, and lossless coding of planes."""
