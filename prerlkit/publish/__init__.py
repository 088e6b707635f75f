"""Publishing: makes a merged model, an adapter for any engine, or a repository on the Hub from a run."""
