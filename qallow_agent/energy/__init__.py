"""What work cost: the meters of this node's devices, and who used what they counted."""
