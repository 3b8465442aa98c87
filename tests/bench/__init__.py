"""`make bench`: what compiled models cost to run, and compilations to make. Not collected by pytest."""
