"""Decides what should become of each bill. Holds no credential and calls nobody but the broker."""
