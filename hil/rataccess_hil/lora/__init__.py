"""Virtual LoRa: chips, modules, the ether between them, gateways, a network server."""
