"""Ways of learning a codebook. Each is a part that any structure can own; `siglum.quantizers.names` lists them."""
