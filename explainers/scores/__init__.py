"""Scores that say how far an explainer can be trusted: tensors in, tensors out, one file per family."""
