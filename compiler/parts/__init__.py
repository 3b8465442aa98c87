"""Models in parts, encoder and decoder in files of their own: composed into one graph before anything else is done."""
