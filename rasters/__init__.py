"""Scenes, labels, tiles, writers, tables and simulated scenes with known evidence."""
