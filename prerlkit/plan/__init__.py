"""Memory and time before anything is started."""
