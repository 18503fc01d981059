"""Reviewing on the map: the dock, the tool that explains at a click, and what both draw."""
