"""The door to nnU-Net and torch, imported only when a network runs."""
