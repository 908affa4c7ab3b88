"""The rig: guests, their network and the nodes they use, for tools/guest, tools/demo and the guest tests."""
