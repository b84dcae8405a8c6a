"""Two cubes and a mask -> numbers; numpy and scipy only."""
