"""A run becomes a merged model, an adapter for any engine, or a repository on the Hub."""
