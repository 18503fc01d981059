"""Processing algorithms, one per file: declare parameters, check them, build a job."""
