"""LoRaWAN modules on a serial port: one engine, and each module as data."""
