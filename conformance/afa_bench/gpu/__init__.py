"""The benchmark's rows for GPUs: jobs, the processes that measure them, and their section."""
