"""Coarse labels by nnU-Net: the only part that knows torch and nnunetv2, and it imports them only when it computes."""
