"""The image-fast codec: one linear projection of each patch as the encoder, integer contexts, a network that decodes."""
