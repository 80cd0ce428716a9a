"""The simulator: complete nodes on a virtual network."""
