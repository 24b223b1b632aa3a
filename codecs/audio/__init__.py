"""Speech and music: spectra, a network at frame rate, group-residual vector quantization, a causal prior."""
