"""Who trains what, which attempt it is, and whether it lives: one table that every host sees."""
