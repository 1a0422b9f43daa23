"""Loads and checks labelled images: `load` turns a name or a path into an `ImageSet`."""
