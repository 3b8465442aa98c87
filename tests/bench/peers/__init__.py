"""Decoding by Unspool and by others, side by side.

What runs in the environment of the others (`make peers`) imports nothing but this package, numpy and what
requirements.txt brings; neither does the rest of the tests import that.
"""
