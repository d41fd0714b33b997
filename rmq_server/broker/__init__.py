"""The Broker: state, services, processors and the server that wires them."""
