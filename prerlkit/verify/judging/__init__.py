"""A language model as a judge: what it reads, one request to it, what its reply says, and replies kept on disk."""
