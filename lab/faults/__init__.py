"""What is done to the cluster on purpose, and undone again whatever happens to us.

Reading order: `base` (what a fault is), `undo` (the record that outlives us), `watchdog`, then one file for
each family (`process`, …), `targets` (who is meant), `catalogue` (every word).
"""
