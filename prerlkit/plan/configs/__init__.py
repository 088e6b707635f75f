"""config.json of the models that packaged recipes use: shapes only, so that they can be planned without a network."""
