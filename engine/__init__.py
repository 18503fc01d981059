"""The bridge between QGIS and the engine process: standard library only."""
