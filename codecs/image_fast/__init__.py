"""The image-fast codec: an encoder of linear projections, integer contexts, and a network that decodes."""
