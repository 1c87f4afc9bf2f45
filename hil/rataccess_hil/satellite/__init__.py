"""Virtual satellite modems and their gateways."""
