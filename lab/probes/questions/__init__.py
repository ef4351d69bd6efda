"""The questions, one module for each kind of target.  Pure."""
