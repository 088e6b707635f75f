"""Worker processes that run verifiers: a queue of jobs, a thread for each process, limits of time and memory."""
