"""Interfaces that the operating system keeps up: Ethernet, Wi-Fi, a modem in network mode."""
