"""The ways out of misread and into it: files for other programs, and models from them."""
