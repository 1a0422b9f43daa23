"""Labelled images in, checked: `load` turns a name or a path into an `ImageSet`."""
