"""One function per job, in the engine process: open, load, tile, explain, write, summarise."""
