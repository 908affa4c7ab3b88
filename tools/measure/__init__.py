"""What tools/bench and tools/conformance share: scratch space, servers under test, clients, tables."""
