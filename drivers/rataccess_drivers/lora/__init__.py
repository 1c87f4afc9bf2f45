"""LoRa radios: modules that speak LoRaWAN themselves, and bare transceivers."""
