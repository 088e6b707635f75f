"""Out of the door: a run becomes a merged model, an adapter for any engine, a repository on the Hub."""
