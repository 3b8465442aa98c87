"""Operator families: one file each, found by the registry on first use. Families never import each other."""
