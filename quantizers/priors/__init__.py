"""Probabilities of codes: float twins that train (`context`, `frequency`) and integer models that code (`coding`)."""
