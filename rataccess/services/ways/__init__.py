"""Ways into a service besides UDP: network servers, satellite gateways, relays."""
