"""Networks, (N, C_in, H, W) -> (N, C_out, H, W)."""
