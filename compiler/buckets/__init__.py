"""Engines of several sizes for targets whose engines take one: which sizes, requests to try them, and the engines."""
