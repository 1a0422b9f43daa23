"""The report: one HTML file with the whole analysis, that needs neither network nor misread to be read."""
