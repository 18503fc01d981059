"""Network architectures, model cards, safe model files, training loops."""
