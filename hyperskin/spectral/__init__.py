"""Raw capture -> pairs; numpy and scipy only."""
