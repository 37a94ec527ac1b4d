"""What things cost, measured; every module is a command that prints JSON lines."""
