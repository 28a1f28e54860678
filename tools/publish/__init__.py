"""Checks of what is published on RunPod's Hub."""
