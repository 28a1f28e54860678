"""Checks of the Hub listing and of answers to its test cases."""
