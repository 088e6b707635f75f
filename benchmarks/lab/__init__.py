"""The laboratory: a model small enough to see in minutes what a method does, and the study on it."""
