"""Pictures as cascades of vector-quantized latents: progressive files, lost chunks can be concealed."""
