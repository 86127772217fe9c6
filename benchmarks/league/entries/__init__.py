"""The entries of the league: each file is a program that gets a task, trains, and writes its test predictions.

The files import each other by their plain names, because the rivals' environments do not have Tagformer.
"""
