"""What tools/pg-host-setup is made of."""
