"""Trainings with several seeds, in less light, by what they cost -> tables, figures and words about them."""
