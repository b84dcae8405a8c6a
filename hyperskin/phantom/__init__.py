"""Plays the camera: made-up people, seen by a made-up pushbroom scanner."""
