"""Reads tests of code from data rows and judges what a completion's program returned or printed."""
